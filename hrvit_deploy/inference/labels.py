"""What an output decides, whatever format it comes in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.inference.resample import Taps, along
from hrvit_deploy.options import ImageSize, OutputFormat

Labels = NDArray[np.int32]

# Stands where scores are not finite; agrees with nothing, not even itself.
UNDECIDED = -1


def labels_of(output: NDArray[Any], output_format: OutputFormat, size: ImageSize) -> Labels:
    """The winning class of each image or pixel.

    Args:
        output: ``B x C`` or ``B x C x H x W`` scores, or a ``B x H x W`` class map.
        output_format: Which of these it is; quarter-size logits are enlarged as the
            network's last layer would.
        size: Height and width of the network's input, in pixels.

    Returns:
        ``B`` or ``B x H x W`` class indices; -1 where a score is NaN or infinite.
    """
    if output_format is OutputFormat.CLASSMAP:
        return output.astype(np.int32)
    scores = output if output.dtype in (np.float32, np.float64) else output.astype(np.float32)
    if output_format is OutputFormat.LOGITS_QUARTER:
        scores = enlarge(scores, size)
    labels: Labels = scores.argmax(axis=1).astype(np.int32)
    finite = np.isfinite(scores)
    if not finite.all():
        labels[~finite.all(axis=1)] = UNDECIDED
    return labels


def enlarge(maps: NDArray[Any], size: ImageSize) -> NDArray[Any]:
    """Bilinear interpolation to a larger size, pixel centres at halves.

    The same as PyTorch's ``interpolate(mode="bilinear", align_corners=False)``.

    Args:
        maps: ``B x C x h x w``.
        size: The height and width to reach.

    Returns:
        ``B x C x H x W`` of the same type.
    """
    rows = along(maps, Taps.bilinear(maps.shape[2], size.height), axis=2)
    return along(rows, Taps.bilinear(maps.shape[3], size.width), axis=3)
