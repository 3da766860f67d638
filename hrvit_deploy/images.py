"""Photographs, and how one becomes the network's input. NumPy and Pillow only."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.bindings.dtypes import numpy_type
from hrvit_deploy.errors import InputError, MissingDependency
from hrvit_deploy.options import ImageSize, InputFormat, join

Pixels = NDArray[np.uint8]

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
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
# Smallest side of a sampled crop, as a share of the largest crop that fits.
SMALLEST_SCALE = 0.35


class NamedImage(NamedTuple):
    """An image and what to call it in reports.

    Attributes:
        name: File name or folder-relative path; crops carry their number.
        pixels: ``H x W x 3`` uint8, RGB.
    """

    name: str
    pixels: Pixels


def load_image(path: Path) -> Pixels:
    """A file as the ``H x W x 3`` uint8 RGB image a viewer would show.

    EXIF orientation is applied; grey, palette and CMYK become RGB; 16 bits become 8;
    transparency is laid over white, as on a page; of an animation, the first frame.

    Raises:
        InputError: The file cannot be read, is broken, or is no such image.
    """
    try:
        with Image.open(path) as image:
            return to_rgb(image, str(path))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no image {path}", "check the path") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is not an image Pillow can read",
            f"remove it, or convert it to one of {join(SUFFIXES)}",
        ) from error
    except BROKEN as error:
        raise InputError(
            f"{path} cannot be decoded: {error}", "restore the file, or remove it"
        ) from error


def to_rgb(image: Image.Image, name: str) -> Pixels:
    """A picture that Pillow opened, as :func:`load_image` would return it.

    Args:
        image: Of any mode.
        name: What to call it in messages.

    Raises:
        InputError: It is broken, or holds what is no colour.
    """
    try:
        image.load()
        return _converted(ImageOps.exif_transpose(image), name)
    except BROKEN as error:
        raise InputError(
            f"{name} cannot be decoded: {error}", "restore the file, or remove it"
        ) from error


def _converted(image: Image.Image, name: str) -> Pixels:
    if image.mode in WIDE_MODES:
        return _from_wide(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _from_wide(grey: NDArray[Any], name: str) -> Pixels:
    """16-bit grey, ``H x W`` from 0 to 65535, as RGB."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 0xFFFF:
        raise InputError(
            f"{name} holds {grey.dtype} samples whose white nobody knows",
            "convert it to 8 or 16 bits per channel",
        )
    # 65535 / 257 is 255; the half rounds.
    narrow = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(narrow[..., None], 3, axis=2)


def list_images(folder: Path) -> list[Path]:
    """Every image below a folder, by suffix, sorted by path; hidden files are left out.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "give a folder of images")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise InputError(
            f"there is no image in {folder}", f"put files in it that end in {join(SUFFIXES)}"
        )
    return found


def listed_images(path: Path) -> list[Path]:
    """The files that a list names; blank lines and those from ``#`` are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a list of images",
            "give a folder, a .txt with a path a line, or an .npz",
        ) from error
    found = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        image = path.parent / line
        if not image.is_file():
            raise InputError(
                f"{path}, line {number}: there is no {image}",
                "paths are relative to the list; mend or remove the line",
            )
        found.append(image)
    if not found:
        raise InputError(f"{path} names no image", "write a path a line")
    return found


def find_images(place: Path) -> list[Path]:
    """The images of a folder, or those that a ``.txt`` names.

    Raises:
        InputError: There are none.
    """
    return listed_images(place) if place.suffix == ".txt" else list_images(place)


def spaced(items: list[Any], count: int) -> list[Any]:
    """At most ``count`` of them at even distances: sorted folders hold like beside like."""
    if len(items) <= count:
        return items
    return [items[index * len(items) // count] for index in range(count)]


def folder_images(place: Path, limit: int | None = None) -> Iterator[NamedImage]:
    """The images at a place, whole, decoded one by one; see :func:`find_images`.

    Args:
        place: A folder, or a ``.txt`` list.
        limit: How many at most, taken evenly from all there are.
    """
    root = place if place.is_dir() else place.parent
    paths = find_images(place)
    for path in paths if limit is None else spaced(paths, limit):
        inside = path.is_relative_to(root)
        name = path.relative_to(root).as_posix() if inside else path.name
        yield NamedImage(name, load_image(path))


def photographs() -> list[NamedImage]:
    """The two photographs scikit-learn carries, each ``427 x 640 x 3``.

    Raises:
        MissingDependency: scikit-learn is not installed, or came without them.
    """
    # Found, not imported: scikit-learn takes a second to load and is not needed.
    spec = importlib.util.find_spec("sklearn")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    for root in roots:
        paths = [Path(root, "datasets", "images", name) for name in PHOTOGRAPHS]
        if all(path.is_file() for path in paths):
            return [NamedImage(path.stem, load_image(path)) for path in paths]
    raise MissingDependency(
        "the bundled photographs belong to scikit-learn, which is not installed",
        "give your own with --images DIR, or pip install scikit-learn",
    )


def samples(count: int, size: ImageSize, *, seed: int = 0) -> Iterator[NamedImage]:
    """Different crops of the bundled photographs, some mirrored, at various scales.

    The same number and seed always give the same crop, whatever the count. Crops have
    the aspect of ``size`` but their own number of pixels; :func:`prepare` resizes them.

    Args:
        count: How many to yield.
        size: Height and width of the network's input, for the aspect.
        seed: Of scales and places.

    Raises:
        MissingDependency: The photographs are not there.
    """
    sources = photographs()
    for index in range(count):
        name, pixels = sources[index % len(sources)]
        generator = np.random.default_rng((seed, index))
        crop = _random_crop(pixels, size, generator)
        if generator.random() < 0.5:
            crop = crop[:, ::-1]
        yield NamedImage(f"{name}-{index:03}", np.ascontiguousarray(crop))


def _random_crop(pixels: Pixels, aspect: ImageSize, generator: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    largest = min(height / aspect.height, width / aspect.width)
    scale = largest * generator.uniform(SMALLEST_SCALE, 1)
    rows = max(1, round(aspect.height * scale))
    columns = max(1, round(aspect.width * scale))
    top = generator.integers(height - rows, endpoint=True)
    left = generator.integers(width - columns, endpoint=True)
    return pixels[top : top + rows, left : left + columns]


def prepare(pixels: Pixels, preparation: Preparation, dtype: str = "float32") -> NDArray[Any]:
    """One image as the batch of one that an artefact takes.

    Args:
        pixels: ``H x W x 3`` uint8 RGB of any size.
        preparation: The sidecar's; the image is resized to its exact size.
        dtype: Type of a floating input, as the sidecar names it; it is normalised in
            float32 and rounded once.

    Returns:
        ``1 x 3 x H x W`` of that type, normalised; or ``1 x H x W x 3`` uint8.

    Raises:
        InputError: The artefact wants something else than three channels of RGB.
        MissingDependency: The type is bfloat16 and ml_dtypes is not installed.
    """
    wanted = (preparation.color, preparation.resize, len(preparation.mean))
    if wanted != ("RGB", "bilinear-antialias", 3):
        raise InputError(
            f"the artefact wants {wanted[2]} channels of {wanted[0]}, resized {wanted[1]}",
            "3 channels of RGB, bilinear-antialias, are all there is: feed its runner arrays",
        )
    height, width = preparation.size
    resized: Pixels = pixels
    if pixels.shape[:2] != (height, width):
        # Pillow's bilinear filter widens as it shrinks an image: that is the antialiasing.
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        resized = np.array(image)
    if preparation.format is InputFormat.UINT8_NHWC:
        return resized[None]
    mean, std = (np.asarray(v, np.float32) for v in (preparation.mean, preparation.std))
    normalised = (resized.astype(np.float32) - mean) / std
    return normalised.transpose(2, 0, 1)[None].astype(numpy_type(dtype), order="C")


def stack(prepared: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Prepared images, each a batch of one, as one batch."""
    return np.concatenate(list(prepared))
