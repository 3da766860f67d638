"""Photographs, and how one becomes the network's input. NumPy and Pillow only."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.bindings.dtypes import numpy_type
from hrvit_deploy.errors import InputError, MissingDependency
from hrvit_deploy.image_files import find_images
from hrvit_deploy.options import ImageSize
from hrvit_deploy.standalone import decode, preprocess
from hrvit_deploy.standalone.limits import MOST_PIXELS_VARIABLE

Pixels = decode.Pixels

SUFFIXES = decode.SUFFIXES
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
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


@contextmanager
def _input_errors() -> Iterator[None]:
    """Raise what is wrong with an image as one of this package's errors."""
    try:
        yield
    except decode.TooLarge as error:
        variable = MOST_PIXELS_VARIABLE
        hint = error.hint.replace(f"{variable}=", f"--max-pixels or {variable}=")
        raise InputError(error.message, hint) from error
    except decode.ImageError as error:
        raise InputError(error.message, error.hint) from error


def load_image(path: Path) -> Pixels:
    """Decode a file to the ``H x W x 3`` uint8 RGB image that a viewer would show.

    EXIF orientation is applied; grey, palette and CMYK become RGB; 16 bits become 8;
    transparency is laid over white, as on a page; an animation gives its first frame.

    Raises:
        InputError: The file cannot be read, is broken, or is no such image.
    """
    with _input_errors():
        return decode.load_image(path)


def load_turned(path: Path) -> tuple[Pixels, int]:
    """Decode a file as :func:`load_image` does; return its EXIF orientation, 1 to 8, too."""
    with _input_errors():
        return decode.load_turned(path)


def load_values(path: Path) -> tuple[NDArray[Any], str]:
    """Read the values that a file stores and their mode: see ``standalone.decode``.

    Raises:
        InputError: The file cannot be read, or its format does not keep values.
    """
    with _input_errors():
        return decode.load_values(path)


def to_rgb(image: Image.Image, name: str) -> Pixels:
    """Convert a picture of any mode that Pillow opened, as :func:`load_image` does.

    Raises:
        InputError: It is broken, or has samples that are no colours; ``name`` is what the
            message calls it.
    """
    with _input_errors():
        return decode.to_rgb(image, name)


def is_plain(pixels: NDArray[Any]) -> bool:
    """Return whether an image, ``H x W x C``, is of one colour: black, or a lens cap."""
    return bool((pixels == pixels[:1, :1]).all())


def spaced(items: list[Any], count: int) -> list[Any]:
    """Pick at most ``count`` items at even distances: sorted folders hold like beside like."""
    if len(items) <= count:
        return items
    return [items[index * len(items) // count] for index in range(count)]


def folder_images(place: Path, limit: int | None = None) -> Iterator[NamedImage]:
    """Decode the images of :func:`find_images`, one by one and whole.

    Args:
        place: A folder, or a list.
        limit: Number of images at most, picked evenly from all there are.
    """
    paths = find_images(place)
    return decoded(place, paths if limit is None else spaced(paths, limit))


def decoded(place: Path, paths: Iterable[Path]) -> Iterator[NamedImage]:
    """Decode some images of a folder or a list, one by one and whole, named after it."""
    root = place if place.is_dir() else place.parent
    for path in paths:
        inside = path.is_relative_to(root)
        name = path.relative_to(root).as_posix() if inside else path.name
        yield NamedImage(name, load_image(path))


def photographs() -> list[NamedImage]:
    """Return the two photographs scikit-learn carries, each ``427 x 640 x 3``.

    Raises:
        MissingDependency: scikit-learn is not installed, or came without them.
    """
    # Located, not imported: scikit-learn takes a second to load and is not needed.
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
    """Yield different crops of the bundled photographs, some mirrored, at various scales.

    The same number and seed always give the same crop, whatever the count. Crops have
    the aspect of ``size`` but their own number of pixels; :func:`prepare` resizes them.

    Args:
        count: Number of crops.
        size: Height and width of the network's input, for the aspect.
        seed: Seed of the scales and places.

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
    """Make the batch of one that an artefact takes from one image.

    Args:
        pixels: ``H x W x 3`` uint8 RGB of any size.
        preparation: The sidecar's; the image is resized to its exact size.
        dtype: Type of a floating input, as the sidecar names it; it is normalised in
            float32 and rounded once.

    Returns:
        ``1 x 3 x H x W`` of that type, normalised; or ``1 x H x W x 3`` uint8.

    Raises:
        InputError: The artefact takes something else than three channels of RGB.
        MissingDependency: The type is bfloat16 and ml_dtypes is not installed.
    """
    color, resize, channels = preparation.color, preparation.resize, len(preparation.mean)
    if (color, resize, channels) != ("RGB", "bilinear-antialias", 3):
        raise InputError(
            f"the artefact wants {channels} channels of {color}, resized {resize}",
            "3 channels of RGB, bilinear-antialias, are all there is: feed its runner arrays",
        )
    return preprocess.prepare(
        pixels,
        preparation.size,
        preparation.format,
        mean=preparation.mean,
        std=preparation.std,
        dtype=numpy_type(dtype),
    )


def stack(prepared: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Join prepared images, each a batch of one, into one batch."""
    return np.concatenate(list(prepared))
