"""What views of a picture decide together: a class for each pixel, or for the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hrvit_deploy.images import NamedImage
from hrvit_deploy.inference.fit import FitOptions
from hrvit_deploy.inference.labels import UNDECIDED, Labels
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.inference.resample import Taps, along
from hrvit_deploy.inference.score_maps import ScoreMap, Scores, score_maps_of, tile_of, views
from hrvit_deploy.options import ImageSize, OutputFormat

# Scores brought to the size of a picture at once; 64 MiB of them.
STRIP_SCORES = 1 << 24


def label_maps(
    prepared: PreparedRunner,
    images: Sequence[NamedImage],
    sizes: Sequence[ImageSize],
    fit: FitOptions,
    classes: int,
) -> Iterator[Labels]:
    """The class of each pixel of each picture, ``H x W`` of its size.

    Args:
        prepared: What outputs; its network segments.
        images: A few, best as many as a batch holds.
        sizes: Of the maps wanted, one a picture.
        fit: How each becomes the input.
        classes: How many the network tells apart.

    Raises:
        RunnerError: The runner failed.
        UsageError: The stride is longer than a window.
    """
    votes = prepared.output_format is OutputFormat.CLASSMAP
    found = score_maps_of(prepared, images, fit, classes)
    for score_maps, size in zip(found, sizes, strict=True):
        yield decide(score_maps, size, votes=votes)


def probabilities(
    prepared: PreparedRunner, images: Sequence[NamedImage], fit: FitOptions
) -> Iterator[Scores]:
    """The ``C`` probabilities of each picture; their mean over its views.

    Args:
        prepared: What outputs; its network classifies.
        images: A few, best as many as a batch holds.
        fit: How each becomes the input.

    Raises:
        RunnerError: The runner failed.
    """
    tiles = [
        NamedImage(image.name, tile_of(seen, prepared, fit)[0])
        for image in images
        for seen, _ in views(image.pixels, fit)
    ]
    outputs = [output[0].astype(np.float32) for output in prepared.outputs(tiles)]
    if prepared.output_format is not OutputFormat.PROBABILITIES:
        outputs = [softmax(output) for output in outputs]
    each = len(tiles) // len(images)
    for start in range(0, len(outputs), each):
        mean: Scores = np.mean(outputs[start : start + each], axis=0)
        yield mean


def decide(score_maps: Sequence[ScoreMap], size: ImageSize, *, votes: bool = False) -> Labels:
    """The winning class of each pixel of a picture of that size.

    Scores are brought to the size bilinearly; where there are several views, their
    softmax is averaged, as mmsegmentation does. Votes are brought there by the nearest
    pixel and counted; a tie falls to the lower class.

    Returns:
        ``H x W``; -1 where a score is NaN or infinite.
    """
    taps = Taps.nearest if votes else Taps.bilinear
    height = max(1, STRIP_SCORES // (score_maps[0].classes * size.width))
    axes = [tuple(map(taps, score_map.size, size)) for score_map in score_maps]
    labels = np.empty(size, np.int32)
    for start in range(0, size.height, height):
        stop = min(start + height, size.height)
        total = None
        for score_map, (rows, columns) in zip(score_maps, axes, strict=True):
            part = _strip(score_map, rows.strip(start, stop), columns)
            if len(score_maps) > 1 and not votes:
                part = softmax(part)
            total = part if total is None else total + part
        labels[start:stop] = _winners(total)
    return labels


def _strip(score_map: ScoreMap, rows: Taps, columns: Taps) -> Scores:
    """Some rows of a picture: across first, since there are fewer rows before."""
    first, last = rows.span
    across = along(score_map.rows(first, last), columns, axis=2)
    return along(across, rows.shifted(first), axis=1)


def softmax(scores: Scores) -> Scores:
    """Probabilities over the first axis."""
    with np.errstate(invalid="ignore"):  # infinite scores become NaN, which tells
        raised = np.exp(scores - scores.max(axis=0))
    shares: Scores = raised / raised.sum(axis=0)
    return shares


def _winners(scores: Any) -> Labels:
    labels: Labels = scores.argmax(axis=0).astype(np.int32)
    finite = np.isfinite(scores)
    if not finite.all():
        labels[~finite.all(axis=0)] = UNDECIDED
    return labels
