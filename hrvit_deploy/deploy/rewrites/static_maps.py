"""Map sizes as constants instead of shapes read from tensors."""

from __future__ import annotations

from torch import nn

from hrvit_deploy.deploy.sites import map_sizes, segmenters, stages
from hrvit_deploy.options import ImageSize


def apply(network: nn.Module, size: ImageSize) -> int:
    """Make every map's height and width a constant, so that only the batch may vary.

    Without it a graph with a dynamic batch computes its reshapes from Shape nodes.
    """
    finest, *_ = sizes = map_sizes(size)
    changes = 0
    for stage in stages(network):
        stage.sizes = sizes
        changes += 1
    for segmenter, head in segmenters(network):
        segmenter.factor = size.height // finest.height
        head.factors = tuple(finest.height // branch.height for branch in sizes)
        changes += 2
    return changes
