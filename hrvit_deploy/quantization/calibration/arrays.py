"""Arrays of an ``.npz`` read image by image: numpy.load would hold all of one array."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hrvit_deploy.errors import InputError

BROKEN = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
TYPES = ("uint8", "float16", "float32", "float64")


def read_header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array.

    Raises:
        InputError: It is broken, or holds no images: see :func:`_check`.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            shape, columns_first, dtype = _header(file)
    except BROKEN as error:
        raise _broken(path, name, error) from error
    _check(path, name, shape, dtype)
    if columns_first:
        raise InputError(
            f"{path}, {name} is stored column by column",
            "store numpy.ascontiguousarray of it",
        )
    return shape, dtype


def read_array(
    path: Path, name: str, indices: Iterable[int | None]
) -> Iterator[tuple[int | None, NDArray[Any]]]:
    """Yield those images of an array, in rising order.

    Args:
        path: An ``.npz``, compressed or not.
        name: Of the array in it.
        indices: Of images along its first dimension; None stands for all of it as one.

    Raises:
        InputError: It is broken.
    """
    wanted = set(indices)
    shape, dtype = read_header(path, name)
    single = shape if None in wanted else shape[1:]
    size = math.prod(single) * dtype.itemsize
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            _header(file)
            for index in [None] if None in wanted else range(shape[0]):
                # Read even if it is not wanted: a compressed file has no other way on.
                data = file.read(size)
                if len(data) < size:
                    raise EOFError("it ends too early")
                if index in wanted:
                    yield index, np.frombuffer(data, dtype).reshape(single)
    except BROKEN as error:
        raise _broken(path, name, error) from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, whether columns come first, and type; leave the file at the first value."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)


def _check(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    fits = len(shape) in (3, 4) and min(shape) > 0 and dtype.name in TYPES
    if fits and dtype.name == "uint8":
        fits = shape[-1] == 3
    if not fits:
        raise InputError(
            f"{path}, {name} is {dtype.name} {' x '.join(map(str, shape)) or 'alone'}",
            "store uint8 RGB, N x H x W x 3 or H x W x 3, or floats laid out as the graph"
            " takes them",
        )


def _broken(path: Path, name: str, error: BaseException) -> InputError:
    return InputError(f"{path}, {name} cannot be read: {error}", "write it with numpy.savez")
