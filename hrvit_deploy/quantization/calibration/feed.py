"""Pictures as the batches a graph takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, cycle, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.artefact import Manifest
from hrvit_deploy.errors import InputError
from hrvit_deploy.images import prepare, stack
from hrvit_deploy.options import InputFormat
from hrvit_deploy.quantization.calibration.images import Picture, PictureSet


class Batch(NamedTuple):
    """Images as the graph takes them, and what they are called."""

    names: tuple[str, ...]
    values: NDArray[Any]


def batch_count(pictures: PictureSet, manifest: Manifest) -> int:
    """Return how many batches :func:`batches` yields."""
    return -(-pictures.count // (manifest.inputs[0].batch or 1))


def batches(
    pictures: PictureSet, manifest: Manifest, see: Callable[[Picture], None] | None = None
) -> Iterator[Batch]:
    """Yield all images, prepared, in batches of the graph's size; one by one if it is dynamic.

    A batch that the last pictures do not fill is filled from the first ones.

    Args:
        pictures: To prepare.
        manifest: Of the graph.
        see: Shown each picture once, as it was read.

    Raises:
        InputError: A picture cannot be read or does not fit.
    """
    size = manifest.inputs[0].batch or 1
    once = pictures if see is None else _shown(pictures, see)
    remaining = chain(once, cycle(pictures) if size > 1 else ())
    for _ in range(batch_count(pictures, manifest)):
        group = list(islice(remaining, size))
        yield Batch(
            tuple(picture.name for picture in group),
            stack(prepared(picture, manifest) for picture in group),
        )


def _shown(pictures: PictureSet, see: Callable[[Picture], None]) -> Iterator[Picture]:
    for picture in pictures:
        see(picture)
        yield picture


def prepared(picture: Picture, manifest: Manifest) -> NDArray[Any]:
    """Prepare an image as a batch of one: pixels as the sidecar says, floats as they are.

    Raises:
        InputError: Floats are not laid out as the graph takes them.
    """
    values = picture.values
    if values.dtype == np.uint8:
        return prepare(values, manifest.preparation)
    check_layout(picture, manifest)
    return values[None].astype(np.float32)


def check_layout(picture: Picture, manifest: Manifest) -> None:
    """Refuse floats that the graph does not take as they are.

    Raises:
        InputError: They are not laid out as the graph takes them, or it takes pixels.
    """
    values = picture.values
    if values.dtype == np.uint8:
        return
    shape = manifest.inputs[0].shape[1:]
    wanted = " x ".join(map(str, shape))
    if manifest.preparation.format is InputFormat.UINT8_NHWC:
        raise InputError(
            f"{picture.name} holds {values.dtype}, and the graph takes pixels",
            f"store uint8 RGB, {wanted}",
        )
    if values.shape != shape:
        raise InputError(
            f"{picture.name} is {' x '.join(map(str, values.shape))},"
            f" and the graph takes {wanted}",
            "store floats prepared for this graph, or uint8 RGB of any size",
        )
