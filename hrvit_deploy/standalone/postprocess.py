"""Turn a network's outputs into label maps and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .resample import Taps, along, enlarge

Scores = NDArray[np.float32]
Labels = NDArray[np.int32]

# Stands in label maps where scores are not finite; it equals no class.
UNDECIDED = -1
# Scores that are brought to the size of an image at once; 64 MiB of them.
STRIP_SCORES = 1 << 24
# Output formats of segmenters, beside plain logits.
CLASSMAP, LOGITS_QUARTER = "classmap", "logits-quarter"


class ScoreMap(Protocol):
    """Scores of one view of an image, read from top to bottom.

    Attributes:
        size: Height and width of the view, in pixels.
        classes: How many scores a pixel has.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def classes(self) -> int: ...

    def rows(self, start: int, stop: int) -> Scores:
        """Return ``C x (stop - start) x W``; rows above ``start`` are not read again."""


class WholeScoreMap:
    """Scores that are all in memory."""

    def __init__(self, scores: Scores) -> None:
        """Take ``C x H x W`` scores."""
        self.classes, height, width = scores.shape
        self.size = (height, width)
        self._scores = scores

    def rows(self, start: int, stop: int) -> Scores:
        return self._scores[:, start:stop]


def softmax(scores: Scores) -> Scores:
    """Return probabilities over the first axis; NaN where a score is infinite."""
    with np.errstate(invalid="ignore"):
        raised = np.exp(scores - scores.max(axis=0))
    shares: Scores = raised / raised.sum(axis=0)
    return shares


def winners(scores: NDArray[Any], axis: int = 0) -> Labels:
    """Return the index of the largest score along an axis; -1 where one is not finite."""
    labels: Labels = scores.argmax(axis=axis).astype(np.int32)
    finite = np.isfinite(scores)
    if not finite.all():
        labels[~finite.all(axis=axis)] = UNDECIDED
    return labels


def label_map(
    score_maps: Sequence[ScoreMap], size: tuple[int, int], *, votes: bool = False
) -> Labels:
    """Return the winning class of each pixel of an image, strip by strip.

    Scores are brought to the size bilinearly; where there are several views, their
    softmax is averaged, as mmsegmentation does. Votes are brought there by the nearest
    pixel and counted; a tie goes to the lower class.

    Args:
        score_maps: Views of the image, one or more.
        size: Height and width of the label map, in pixels.
        votes: Whether scores are votes: 1 for the class that won in a view, else 0.

    Returns:
        ``H x W`` class indices; -1 where a score is NaN or infinite.
    """
    taps = Taps.nearest if votes else Taps.bilinear
    height, width = size
    axes = [
        (taps(score_map.size[0], height), taps(score_map.size[1], width))
        for score_map in score_maps
    ]
    step = max(1, STRIP_SCORES // (score_maps[0].classes * width))
    labels = np.empty((height, width), np.int32)
    for start in range(0, height, step):
        stop = min(start + step, height)
        total: Any = None
        for score_map, (rows, columns) in zip(score_maps, axes, strict=True):
            part = _strip(score_map, rows.strip(start, stop), columns)
            if len(score_maps) > 1 and not votes:
                part = softmax(part)
            total = part if total is None else total + part
        labels[start:stop] = winners(total)
    return labels


def _strip(score_map: ScoreMap, rows: Taps, columns: Taps) -> Scores:
    """Return some rows of an image: across first, since there are fewer rows before."""
    first, last = rows.span
    across = along(score_map.rows(first, last), columns, axis=2)
    return along(across, rows.shifted(first), axis=1)


def resize_class_map(class_map: NDArray[Any], size: tuple[int, int], classes: int) -> Labels:
    """Bring an ``h x w`` class map to another size by the nearest pixel.

    Args:
        class_map: Class indices of any integer type.
        size: Height and width of the label map, in pixels.
        classes: How many classes there are.

    Returns:
        ``H x W`` class indices; -1 where there is no such class.
    """
    rows, columns = map(Taps.nearest, class_map.shape, size)
    labels: Labels = class_map[rows.left[:, None], columns.left].astype(np.int32)
    labels[(labels < 0) | (labels >= classes)] = UNDECIDED
    return labels


def output_label_map(
    output: NDArray[Any],
    output_format: str,
    input_size: tuple[int, int],
    size: tuple[int, int],
    classes: int,
) -> Labels:
    """Return the label map of an image that was stretched to the network's input.

    Args:
        output: ``C x h x w`` scores of the image, or its ``h x w`` class map.
        output_format: The sidecar's; scores of a quarter of the input's size are enlarged
            as the network's last layer would.
        input_size: Height and width of the network's input, in pixels.
        size: Height and width of the image, in pixels.
        classes: How many classes there are.

    Returns:
        ``H x W`` class indices; -1 where scores are not finite.
    """
    if output_format == CLASSMAP:
        return resize_class_map(output, size, classes)
    scores = output.astype(np.float32, copy=False)
    if output_format == LOGITS_QUARTER:
        scores = enlarge(scores, input_size)
    return label_map([WholeScoreMap(scores)], size)
