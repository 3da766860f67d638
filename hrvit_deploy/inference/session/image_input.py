"""Whatever a caller calls an image, as the pixels the network is prepared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import Image

from hrvit_deploy.errors import InputError
from hrvit_deploy.images import NamedImage, Pixels, load_image, to_rgb

EXPECTED = "give H x W x 3 uint8 RGB arrays, paths or Pillow images"
UNSCALE = (
    "undo the scaling, of values from 0 to 1 with"
    " (image * 255).round().clip(0, 255).astype(np.uint8); what is normalised already goes"
    " to session.run"
)


def is_several(images: Any) -> TypeGuard[list[Any] | tuple[Any, ...] | Pixels]:
    """Return whether this is more than one image: a list, a tuple, or a 4-D array."""
    return isinstance(images, list | tuple) or (
        isinstance(images, np.ndarray) and images.ndim == 4
    )


def as_image(image: Any, name: str) -> NamedImage:
    """Decode one image.

    Args:
        image: An ``H x W x 3`` uint8 array, which is not copied; a path; or a picture of
            Pillow's.
        name: What to call it in messages, if it is no file.

    Raises:
        InputError: It is none of these, or cannot be decoded.
    """
    if isinstance(image, str | Path):
        return NamedImage(str(image), load_image(Path(image)))
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise InputError(f"{name} has no pixels: {image.size}", EXPECTED)
        return NamedImage(name, to_rgb(image, name))
    if not isinstance(image, np.ndarray):
        raise InputError(f"{name} is a {type(image).__name__}", EXPECTED)
    if (wrong := _wrong(image)) is not None:
        what, mend = wrong
        raise InputError(f"{name} is {what}", mend)
    return NamedImage(name, image)


def _wrong(array: np.ndarray[Any, Any]) -> tuple[str, str] | None:
    """Return what an array is instead of an RGB image, and how to make it one."""
    shape = " x ".join(map(str, array.shape)) or "a number"
    if array.ndim == 2:
        return (
            f"grey ({shape}), the network takes RGB",
            "repeat it: np.repeat(image[..., None], 3, axis=2), or Image.fromarray(image)",
        )
    if array.ndim == 3 and array.shape[2] == 4:
        return (
            f"of four channels ({shape}), the network takes RGB",
            "leave alpha out with image[..., :3], or give Image.fromarray(image)",
        )
    if array.ndim == 3 and array.shape[0] == 3 != array.shape[2]:
        return (f"of shape {shape}", "put channels last: image.transpose(1, 2, 0)")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        return (f"of shape {shape}", EXPECTED)
    if array.dtype != np.uint8:
        return f"of type {array.dtype}, images are uint8 as decoded", UNSCALE
    return None
