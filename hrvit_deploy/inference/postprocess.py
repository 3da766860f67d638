"""Label maps and probabilities of pictures, from all the views that a network has of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hrvit_deploy.images import NamedImage
from hrvit_deploy.inference.fit import FitOptions
from hrvit_deploy.inference.labels import Labels
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.inference.score_maps import Scores, score_maps_of, tile_of, views
from hrvit_deploy.options import ImageSize, OutputFormat
from hrvit_deploy.standalone.postprocess import label_map, softmax


def label_maps(
    prepared: PreparedRunner,
    images: Sequence[NamedImage],
    sizes: Sequence[ImageSize],
    fit: FitOptions,
    classes: int,
) -> Iterator[Labels]:
    """Yield the class of each pixel of each picture, ``H x W`` of its size.

    Args:
        prepared: Runner of a network that segments.
        images: A few, best as many as a batch holds.
        sizes: Height and width of each picture's label map, in pixels.
        fit: How each picture becomes the input.
        classes: Number of the network's classes.

    Raises:
        RunnerError: The runner failed.
        UsageError: The stride is longer than a window.
    """
    votes = prepared.output_format is OutputFormat.CLASSMAP
    score_maps = score_maps_of(prepared, images, fit, classes)
    for of_one, size in zip(score_maps, sizes, strict=True):
        yield label_map(of_one, size, votes=votes)


def probabilities(
    prepared: PreparedRunner, images: Sequence[NamedImage], fit: FitOptions
) -> Iterator[Scores]:
    """Yield the ``C`` probabilities of each picture; their mean over its views.

    Args:
        prepared: Runner of a network that classifies.
        images: A few, best as many as a batch holds.
        fit: How each picture becomes the input.

    Raises:
        RunnerError: The runner failed.
    """
    tiles = [
        NamedImage(image.name, tile_of(view, prepared, fit)[0])
        for image in images
        for view, _ in views(image.pixels, fit)
    ]
    outputs = [output[0].astype(np.float32) for output in prepared.outputs(tiles)]
    if prepared.output_format is not OutputFormat.PROBABILITIES:
        outputs = [softmax(output) for output in outputs]
    each = len(tiles) // len(images)
    for start in range(0, len(outputs), each):
        mean: Scores = np.mean(outputs[start : start + each], axis=0)
        yield mean
