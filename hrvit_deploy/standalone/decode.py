"""Decode image files of every kind to RGB."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from . import lfs
from .formats import is_lossless, open_picture, orientation_of
from .limits import MOST_PIXELS, MOST_PIXELS_VARIABLE
from .orientation import turn

Pixels = NDArray[np.uint8]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Single-channel modes wider than a byte, which Pillow would clip instead of scale.
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# Pillow spreads values of less than a byte over 0 to 255, in steps of these.
STEPS = {"1": 255, "L;2": 85, "L;4": 17}


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


class TooLarge(BrokenImage):
    """An image of more pixels than are read."""


class LossyValues(ImageError):
    """Values that a format changed when they were written."""


class UnknownWhite(ImageError):
    """An image whose samples have no known largest value."""


def load_image(path: str | Path) -> Pixels:
    """Decode a file to the ``H x W x 3`` uint8 RGB image that a viewer would show.

    EXIF orientation is applied; grey, palette and CMYK become RGB; 16 bits become 8;
    transparency is laid over white, as on a page; an animation gives its first frame.

    Raises:
        ImageError: The file cannot be read, is broken, or is no such image.
    """
    return load_turned(path)[0]


def load_turned(path: str | Path) -> tuple[Pixels, int]:
    """Decode a file as :func:`load_image` does; return its EXIF orientation, 1 to 8, too."""
    try:
        with _opened(path) as file:
            return _decode(file, str(path))
    except FileNotFoundError as error:
        raise ImageError(f"there is no image {path}", "check the path") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise _broken(str(path), error) from error


def decode_image(content: bytes, name: str) -> Pixels:
    """Decode the content of an image file, as :func:`load_image` does.

    Args:
        content: The encoded image.
        name: What to call it in messages.

    Raises:
        ImageError: It is no image, is broken, or has samples that are no colours.
    """
    return _decode(io.BytesIO(content), name)[0]


def load_values(path: str | Path) -> tuple[NDArray[Any], str]:
    """Read the values that a file stores, as they are stored.

    Neither is EXIF orientation applied, nor a palette; values of 1, 2 and 4 bits stay what
    they are.

    Returns:
        ``H x W`` whole numbers, or ``H x W x C`` where they are colours; and Pillow's name
        of the file's mode.

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: It cannot be read, or its format does not keep values.
    """
    name = str(path)
    with _opened(path) as file:
        try:
            image = _open(file, name)
            raw = image.tile[0].args if image.tile else ""
            raw = str(raw[0]) if isinstance(raw, tuple) and raw else str(raw)
            image.load()
            lossless, values = is_lossless(image), _unscaled(np.asarray(image), raw)
        except ImageError:
            raise
        except Exception as error:
            raise _broken(name, error) from error
    if not lossless:
        raise LossyValues(
            f"{name} is {image.format}, which changes values when it is written",
            "give the PNG that it was made from",
        )
    return values, image.mode


def _unscaled(values: NDArray[Any], raw: str) -> NDArray[Any]:
    """Undo what Pillow does to values of less than a byte, by the layout they are stored in.

    Args:
        values: As Pillow returns them.
        raw: Its name of the layout, such as ``L;4``; an I behind it turns black into white.
    """
    layout = raw.rstrip("RI")
    inverted = "I" in raw[len(layout) :]
    layout = layout.rstrip(";")
    if values.dtype == np.bool_:
        return np.asarray(values ^ inverted, np.uint8)
    if values.dtype != np.uint8 or values.ndim != 2:
        return values
    stored = 255 - values if inverted else values
    return stored // STEPS.get(layout, 1)


def _opened(path: str | Path) -> IO[bytes]:
    """Open a regular file; a pipe would wait for whoever writes to it."""
    place = Path(path)
    if place.exists() and not place.is_file():
        raise UnknownFormat(f"{path} is not a file", "give an image file")
    return place.open("rb")


def most_pixels() -> int:
    """Return how many pixels an image may have; 0 for any number.

    Raises:
        ImageError: The environment variable that says so holds no number.
    """
    text = os.environ.get(MOST_PIXELS_VARIABLE, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ImageError(f"{MOST_PIXELS_VARIABLE} is {text!r}", "set it to a number of pixels")
    return int(text) if text else MOST_PIXELS


def _open(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """Open an image of a known format and of no more pixels than are read."""
    image = open_picture(file, name)
    if image is None:
        file.seek(0)
        if lfs.is_pointer(file.read(len(lfs.START))):
            raise UnknownFormat(f"{name} is a Git LFS pointer, not the image", lfs.HINT)
        suffixes = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise UnknownFormat(
            f"{name} is not an image that can be read",
            f"remove it, or convert it to one of {suffixes}",
        )
    limit, pixels = most_pixels(), image.width * image.height
    if 0 < limit < pixels:
        raise TooLarge(
            f"{name} has {pixels / 1e6:.4g} million pixels ({image.width} x {image.height}),"
            f" more than the {limit / 1e6:.4g} million that are read",
            f"cut it into tiles, or set the limit with {MOST_PIXELS_VARIABLE}={pixels}",
        )
    return image


def _decode(file: IO[bytes], name: str) -> tuple[Pixels, int]:
    try:
        image = _open(file, name)
    except ImageError:
        raise
    except Exception as error:
        raise _broken(name, error) from error
    pixels = _flattened(image, name)
    orientation = orientation_of(image)
    return turn(pixels, orientation), orientation


def to_rgb(image: Image.Image, name: str) -> Pixels:
    """Convert a picture that Pillow opened, as :func:`load_image` does.

    Args:
        image: A picture of any mode.
        name: What to call it in messages.

    Raises:
        ImageError: It is broken, or has samples that are no colours.
    """
    pixels = _flattened(image, name)
    return turn(pixels, orientation_of(image))


def _flattened(image: Image.Image, name: str) -> Pixels:
    """Load a picture and convert it to RGB, unturned."""
    try:
        image.load()
        return _flatten(image, name)
    except ImageError:
        raise
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> BrokenImage:
    # Decoders raise nearly anything on broken files, as feeding them such shows.
    why = " ".join(str(error).split()) or type(error).__name__
    return BrokenImage(f"{name} cannot be decoded: {why}", "restore the file, or remove it")


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
