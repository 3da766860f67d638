"""The classes that an output decides, whatever format it comes in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import InputError
from hrvit_deploy.options import ImageSize, OutputFormat
from hrvit_deploy.standalone import postprocess
from hrvit_deploy.standalone.resample import enlarge

Labels = postprocess.Labels

# Stands where scores are not finite; agrees with nothing, not even itself.
UNDECIDED = postprocess.UNDECIDED


def labels_of(
    output: NDArray[Any], output_format: OutputFormat | None, size: ImageSize
) -> Labels:
    """Return the winning class of each image or pixel.

    Args:
        output: ``B x C`` or ``B x C x H x W`` scores, or a ``B x H x W`` class map.
        output_format: Which of these it is; quarter-size logits are enlarged as the
            network's last layer would.
        size: Height and width of the network's input, in pixels.

    Returns:
        ``B`` or ``B x H x W`` class indices; -1 where a score is NaN or infinite.

    Raises:
        InputError: The output is neither scores nor labels.
    """
    if output_format in (None, OutputFormat.FEATURES):
        raise InputError(
            "the output is neither scores nor labels", "compare it in numbers alone"
        )
    if output_format is OutputFormat.CLASSMAP:
        return output.astype(np.int32)
    scores = output if output.dtype in (np.float32, np.float64) else output.astype(np.float32)
    if output_format is OutputFormat.LOGITS_QUARTER:
        scores = enlarge(scores, size)
    return postprocess.winners(scores, axis=1)
