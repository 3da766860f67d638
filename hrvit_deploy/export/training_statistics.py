"""What a trained network remembers of the images it saw, held against those it gets now.

Batch normalization keeps the mean and the variance of the first convolution's outputs over
the training. Images that are normalised in another way make others of them, long before
anything is labelled: a checkpoint that does not say how its images were normalised still
knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.deploy.sites import backbone_of
from hrvit_deploy.model.layers import Stem
from hrvit_deploy.model.network import Network
from hrvit_deploy.normalisation import written
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, InputFormat

# Distance, a Kullback-Leibler divergence in nats a channel, from which another normalisation
# is looked for: photographs are 0.1 to 0.2 from a network trained on digits drawn on others.
FAR = 0.2
# So much nearer must another normalisation be, to be named.
NEARER = 0.5
# So far that no images explain it, whether another normalisation is near or not.
BEYOND = 5.0
LEAST_VARIANCE = 1e-12


class Normalisation(NamedTuple):
    """A mean and a deviation per channel on a 0..255 scale, and whose they are."""

    mean: Sequence[float]
    std: Sequence[float]
    name: str = ""


USUAL = (
    Normalisation(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's"),
    Normalisation((127.5,) * 3, (127.5,) * 3, "those of -1 to 1"),
    Normalisation((0.0,) * 3, (255.0,) * 3, "those of 0 to 1"),
    Normalisation((0.0,) * 3, (1.0,) * 3, "none"),
)


def doubt_normalisation(
    network: Network, preparation: Preparation, batches: Sequence[NDArray[Any]]
) -> str:
    """Describe how the normalisation differs from the training's, if it clearly does.

    Args:
        network: A trained one.
        preparation: How the images were prepared.
        batches: Real images as the graph takes them.

    Returns:
        One line, with the options to give where a usual normalisation fits far better;
        empty where nothing is odd, or where the network remembers nothing.
    """
    stem = _stem_of(network)
    if not _trained(stem) or len(preparation.mean) != len(IMAGENET_MEAN):
        return ""
    pixels = list(_pixels(preparation, batches))
    given = Normalisation(preparation.mean, preparation.std)
    distance = _distance(stem, pixels, given)
    if distance < FAR:
        return ""
    best = min(USUAL, key=lambda usual: _distance(stem, pixels, usual))
    told = (
        f"a mean of {written(given.mean)} and a deviation of {written(given.std)} give the"
        " first layer other values than it saw in training"
    )
    if _distance(stem, pixels, best) < NEARER * distance:
        return (
            f"{told}; {best.name} fit far better: check the training's, or give --mean"
            f" {written(best.mean)} --std {written(best.std)}"
        )
    return f"{told}: check the training's --mean and --std" if distance > BEYOND else ""


def _stem_of(network: Network) -> Stem:
    return backbone_of(network).stem


def _trained(stem: Stem) -> bool:
    """Return whether the statistics are not those that every network starts with."""
    mean = stem.bn1.running_mean
    return mean is not None and bool(mean.any())


def _pixels(preparation: Preparation, batches: Sequence[NDArray[Any]]) -> Iterator[Tensor]:
    """Yield ``B x 3 x H x W`` pixels from 0 to 255, as they were before normalisation."""
    for batch in batches:
        if preparation.format is InputFormat.UINT8_NHWC:
            yield torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float()
            continue
        mean, std = _columns(preparation.mean), _columns(preparation.std)
        yield torch.from_numpy(batch.astype(np.float32)) * std + mean


def _columns(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _distance(stem: Stem, pixels: Sequence[Tensor], normalisation: Normalisation) -> float:
    """Measure how far the first layer's outputs lie from those it remembers.

    The Kullback-Leibler divergence between normal distributions, of the values now from
    those then, in nats and on average over the channels.
    """
    mean, std = _columns(normalisation.mean), _columns(normalisation.std)
    with torch.no_grad():
        outputs = torch.cat([stem.conv1((batch - mean) / std) for batch in pixels])
        before = stem.bn1
        assert before.running_mean is not None
        assert before.running_var is not None
        shift = outputs.mean((0, 2, 3)) - before.running_mean
        remembered = before.running_var.clamp(min=LEAST_VARIANCE)
        variance = outputs.var((0, 2, 3)).clamp(min=LEAST_VARIANCE)
        ratio = variance / remembered
        apart = (ratio - torch.log(ratio) - 1 + shift.square() / remembered) / 2
    return float(apart.mean())
