"""Draw label maps: as indices in the classes' colours, and over their image."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image

from .decode import Pixels
from .postprocess import Labels

# Classes whose indices a palette holds, with one index left for pixels without a class.
PALETTE_CLASSES = 255
UNDECIDED_COLOUR = (0, 0, 0)


def palette(colours: Sequence[Sequence[int]]) -> Pixels:
    """Return colours by index, ``C + 1 x 3``; the last one, at -1, is for no class."""
    return np.array([*colours, UNDECIDED_COLOUR], np.uint8)


def blend(
    pixels: Pixels,
    labels: Labels,
    colours: Sequence[Sequence[int]],
    clear: Collection[int],
    alpha: float,
) -> Image.Image:
    """Lay the classes' colours over their image.

    Args:
        pixels: ``H x W x 3`` RGB.
        labels: ``H x W`` indices, -1 where there is no class.
        colours: Red, green and blue of each class, from 0 to 255.
        clear: Classes that leave the image as it is.
        alpha: Share of the colours, from 0 to 1.
    """
    painted = palette(colours)[labels]
    untouched = np.isin(labels, list(clear))
    painted[untouched] = pixels[untouched]
    return Image.blend(Image.fromarray(pixels), Image.fromarray(painted), alpha)


def index_image(labels: Labels, colours: Sequence[Sequence[int]]) -> Image.Image:
    """Return a picture whose values are class indices, shown in the classes' colours.

    Up to 255 classes it has a palette, and 255 stands where there is no class; more are
    written as 16-bit grey, and 65535 stands there.
    """
    if len(colours) > PALETTE_CLASSES:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels.astype(np.uint8)).convert("P")
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    image.putpalette(table.tobytes())
    return image


def encode_png(image: Image.Image) -> bytes:
    """Return the content of a PNG file of a picture."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
