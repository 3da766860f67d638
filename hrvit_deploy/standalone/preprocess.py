"""Make a network's input from RGB images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from .decode import Pixels

# The input format of networks that normalise by themselves.
UINT8_NHWC = "uint8-nhwc"


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize an image to a height and width, bilinearly and with antialiasing.

    Args:
        pixels: ``H x W x 3`` uint8; it is returned itself if it has that size.
        size: The height and width to reach, in pixels.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    # Pillow's bilinear filter widens as it shrinks an image: that is the antialiasing.
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def prepare(
    pixels: Pixels,
    size: tuple[int, int],
    input_format: str,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: DTypeLike,
) -> NDArray[Any]:
    """Make the batch of one that a network takes, as its sidecar describes it.

    Args:
        pixels: ``H x W x 3`` uint8 RGB of any size.
        size: Height and width of the input, in pixels; the aspect is not kept.
        input_format: ``uint8-nhwc`` leaves normalising to the network.
        mean: Means of the three channels, on a scale from 0 to 255.
        std: Their deviations, on the same scale.
        dtype: Type of a floating input; it is normalised in float32 and rounded once.

    Returns:
        ``1 x 3 x H x W`` of that type, normalised; or ``1 x H x W x 3`` uint8.
    """
    resized = resize(pixels, size)
    if input_format == UINT8_NHWC:
        return resized[None]
    means, deviations = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    normalised = (resized.astype(np.float32) - means) / deviations
    return normalised.transpose(2, 0, 1)[None].astype(dtype, order="C")
