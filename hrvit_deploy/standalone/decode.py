"""Decode image files of every kind to RGB."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = NDArray[np.uint8]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# What Pillow's decoders raise on broken files, found by feeding them such.
BROKEN = (
    OSError,
    EOFError,
    IndexError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)
# Single-channel modes wider than a byte, which Pillow would clip instead of scale.
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


class ImageError(ValueError):
    """An image that cannot be used.

    Attributes:
        message: What is wrong, in one line that names the image.
        hint: How to fix it.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UnknownFormat(ImageError):
    """A file in no format that Pillow reads."""


class BrokenImage(ImageError):
    """A file of a known format whose contents cannot be decoded."""


class UnknownWhite(ImageError):
    """An image whose samples have no known largest value."""


def load_image(path: str | Path) -> Pixels:
    """Decode a file to the ``H x W x 3`` uint8 RGB image that a viewer would show.

    EXIF orientation is applied; grey, palette and CMYK become RGB; 16 bits become 8;
    transparency is laid over white, as on a page; an animation gives its first frame.

    Raises:
        ImageError: The file cannot be read, is broken, or is no such image.
    """
    try:
        return _decode(path, str(path))
    except FileNotFoundError as error:
        raise ImageError(f"there is no image {path}", "check the path") from error


def decode_image(content: bytes, name: str) -> Pixels:
    """Decode the content of an image file, as :func:`load_image` does.

    Args:
        content: The encoded image.
        name: What to call it in messages.

    Raises:
        ImageError: It is no image, is broken, or has samples that are no colours.
    """
    return _decode(io.BytesIO(content), name)


def _decode(source: str | Path | IO[bytes], name: str) -> Pixels:
    try:
        with Image.open(source) as image:
            return to_rgb(image, name)
    except (ImageError, FileNotFoundError):
        raise
    except UnidentifiedImageError as error:
        suffixes = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise UnknownFormat(
            f"{name} is not an image Pillow can read",
            f"remove it, or convert it to one of {suffixes}",
        ) from error
    except BROKEN as error:
        raise _broken(name, error) from error


def to_rgb(image: Image.Image, name: str) -> Pixels:
    """Convert a picture that Pillow opened, as :func:`load_image` does.

    Args:
        image: A picture of any mode.
        name: What to call it in messages.

    Raises:
        ImageError: It is broken, or has samples that are no colours.
    """
    try:
        image.load()
        return _flatten(ImageOps.exif_transpose(image), name)
    except ImageError:
        raise
    except BROKEN as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> BrokenImage:
    return BrokenImage(f"{name} cannot be decoded: {error}", "restore the file, or remove it")


def _flatten(image: Image.Image, name: str) -> Pixels:
    """Convert any mode to RGB, with transparency laid over white."""
    if image.mode in WIDE_MODES:
        return _narrow(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _narrow(grey: NDArray[Any], name: str) -> Pixels:
    """Convert 16-bit grey, ``H x W`` from 0 to 65535, to RGB."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 0xFFFF:
        raise UnknownWhite(
            f"{name} holds {grey.dtype} samples whose white nobody knows",
            "convert it to 8 or 16 bits per channel",
        )
    # 65535 / 257 is 255; the half rounds.
    narrow = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(narrow[..., None], 3, axis=2)
