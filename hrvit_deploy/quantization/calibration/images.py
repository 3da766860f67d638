"""What to calibrate on: a folder, a list, an ``.npz``, or noise; one image at a time.

Nothing is kept: each pass reads and decodes again, so that memory does not grow with the
number of images. That number and a hash of the contents are known before the first pass.
"""

from __future__ import annotations

import hashlib
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.artefact import Preparation, sha256_of
from hrvit_deploy.errors import InputError
from hrvit_deploy.image_files import Listing, find_listing
from hrvit_deploy.images import load_image, spaced
from hrvit_deploy.options import CalibrationOptions
from hrvit_deploy.quantization.calibration.arrays import read_array, read_header

DEFAULT_FOLDER = Path("calib/images")
# Noise has no variety: more of it teaches nothing.
NOISE_IMAGES = 32


class Picture(NamedTuple):
    """An image to calibrate on.

    Attributes:
        name: For messages.
        values: ``H x W x 3`` uint8 RGB, still to be prepared; or floats as the graph takes
            one image, without a batch.
    """

    name: str
    values: NDArray[Any]


class PictureSet(ABC):
    """Images that can be read through again and again.

    Attributes:
        notes: What is to be said of files that were passed over.
    """

    notes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def count(self) -> int:
        """How many there are."""

    @abstractmethod
    def __iter__(self) -> Iterator[Picture]: ...

    @abstractmethod
    def some(self, count: int) -> PictureSet:
        """Return at most so many of them, evenly spaced."""

    @cached_property
    def sha256(self) -> str:
        """Of their contents, whatever their order and names."""
        return hashlib.sha256("\n".join(sorted(self._digests())).encode()).hexdigest()

    def _digests(self) -> Iterator[str]:
        """Yield a hash of each."""
        for picture in self:
            values = np.ascontiguousarray(picture.values)
            head = f"{values.dtype.str} {values.shape} ".encode()
            yield hashlib.sha256(head + values.tobytes()).hexdigest()


@dataclass(frozen=True)
class FileSet(PictureSet):
    """Image files, whole; decoded as they are come to."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.paths)

    def some(self, count: int) -> PictureSet:
        return replace(self, paths=tuple(spaced(list(self.paths), count)))

    def _digests(self) -> Iterator[str]:
        # Of the files: much quicker than decoding them.
        return map(sha256_of, self.paths)

    def __iter__(self) -> Iterator[Picture]:
        for path in self.paths:
            yield Picture(str(path), load_image(path))


@dataclass(frozen=True)
class ArraySet(PictureSet):
    """Arrays of an ``.npz``.

    Attributes:
        path: The file.
        picks: Name of an array in it, and which of its images; None if it is one image.
    """

    path: Path
    picks: tuple[tuple[str, int | None], ...]

    @property
    def count(self) -> int:
        return len(self.picks)

    def some(self, count: int) -> PictureSet:
        return replace(self, picks=tuple(spaced(list(self.picks), count)))

    def __iter__(self) -> Iterator[Picture]:
        wanted: dict[str, list[int | None]] = {}
        for name, index in self.picks:
            wanted.setdefault(name, []).append(index)
        for name, indices in wanted.items():
            for index, values in read_array(self.path, name, indices):
                place = name if index is None else f"{name}[{index}]"
                yield Picture(f"{self.path}, {place}", values)


@dataclass(frozen=True)
class NoiseSet(PictureSet):
    """Pixels drawn evenly: they calibrate nothing, but let the road be walked."""

    amount: int
    preparation: Preparation

    @property
    def count(self) -> int:
        return self.amount

    def some(self, count: int) -> PictureSet:
        return replace(self, amount=min(self.amount, count))

    def __iter__(self) -> Iterator[Picture]:
        for seed in range(self.amount):
            shape = (*self.preparation.size, 3)
            random = np.random.default_rng(seed)
            yield Picture(f"noise {seed}", random.integers(0, 256, shape, np.uint8))


def open_pictures(
    place: Path | None, options: CalibrationOptions, preparation: Preparation
) -> PictureSet:
    """Open the images at a place, as many as requested, taken evenly from all there are.

    Args:
        place: A folder; a list with a path a line, relative to itself; or an ``.npz``.
            None for ``calib/images/``.
        options: How many, or noise instead.
        preparation: Of the graph, for the size of noise.

    Raises:
        InputError: There are none, or they cannot be read.
    """
    if options.random_data:
        return NoiseSet(min(options.samples, NOISE_IMAGES), preparation)
    place = place or DEFAULT_FOLDER
    if place.suffix.lower() == ".npz" and not place.is_dir():
        return ArraySet(place, tuple(spaced(_array_picks(place), options.samples)))
    listing = _found(place)
    chosen = spaced(list(listing.images), options.samples)
    return FileSet(tuple(chosen), tuple(listing.notes()))


def _found(place: Path) -> Listing:
    folder = place
    try:
        return find_listing(place)
    except InputError as error:
        if place.is_file() or "label maps" in error.message:
            raise
        raise InputError(
            error.message,
            f"put some hundred images of the kind it will see into {folder}/, or give"
            " --images with a folder, a .txt list or an .npz",
        ) from error


def _array_picks(path: Path) -> list[tuple[str, int | None]]:
    """Yield every image of an ``.npz``: a 4-D array holds many, a 3-D one is one."""
    if not path.is_file():
        raise InputError(f"there is no {path}", "check the path")
    picks: list[tuple[str, int | None]] = []
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not an .npz: {error}", "write it with numpy.savez"
        ) from error
    for name in names:
        shape, _ = read_header(path, name)
        many = len(shape) == 4
        picks += [(name, index) for index in range(shape[0])] if many else [(name, None)]
    if not picks:
        raise InputError(f"{path} holds no image", "store uint8 arrays, N x H x W x 3")
    return picks
