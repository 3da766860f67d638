"""Turn pixels as EXIF's orientation says, whatever else the EXIF holds.

The orientation alone is read (CIPA DC-008), from its own bytes: cameras and editors write
the other tags in every odd way, and none of them changes what an image looks like.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = TypeVar("Array", bound=NDArray[Any])

UPRIGHT = 1
HEADER = b"Exif\0\0"
TAG = 0x0112
ENTRY_BYTES = 12
# Bytes of the types of whole numbers; four lie in the entry itself.
TYPE_BYTES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4}
VALUE_BYTES = 4


def orientation_in(exif: Any) -> int:
    """Return the orientation in EXIF data, from 1 to 8; 1 where it has none that counts.

    Args:
        exif: The bytes of its TIFF directory, with or without ``Exif`` before them.
            Anything else, and anything malformed, has none.
    """
    if not isinstance(exif, bytes):
        return UPRIGHT
    tiff = exif.removeprefix(HEADER)
    directory = _number(tiff, 4, 4)
    for index in range(_number(tiff, directory, 2)):
        entry = directory + 2 + index * ENTRY_BYTES
        if entry >= len(tiff):
            break
        if _number(tiff, entry, 2) == TAG:
            size = TYPE_BYTES.get(_number(tiff, entry + 2, 2), 0)
            count = _number(tiff, entry + 4, 4)
            held = 0 < size * count <= VALUE_BYTES
            return known(_number(tiff, entry + 8, size) if held else UPRIGHT)
    return UPRIGHT


def known(value: Any) -> int:
    """Return a value that stands for an orientation; 1 for any that is none."""
    return value if isinstance(value, int) and UPRIGHT <= value <= 8 else UPRIGHT


def _number(tiff: bytes, place: int, size: int) -> int:
    """Read a whole number of so many bytes; bytes beyond the end are 0."""
    taken = tiff[place : place + size].ljust(size, b"\0")
    return int.from_bytes(taken, "big" if tiff[:1] == b"M" else "little")


def turn(pixels: Array, orientation: int) -> Array:
    """Turn an image as a viewer does.

    Args:
        pixels: ``H x W`` or ``H x W x C``, as stored.
        orientation: From 1 to 8.

    Returns:
        The same, or a copy: ``W x H`` and so on for orientations from 5.
    """
    if orientation <= UPRIGHT:
        return pixels
    turned: Any = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    upright: Array = np.ascontiguousarray(turned)  # type: ignore[assignment]
    return upright
