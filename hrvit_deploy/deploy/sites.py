"""Where in a network rewrites find what they replace, and how large its maps are there."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from hrvit_deploy.errors import UsageError
from hrvit_deploy.model.heads import HRViTSegmenter, SegmenterHead
from hrvit_deploy.model.hrvit import HRViT, Stage
from hrvit_deploy.model.layers import Block, MapSize
from hrvit_deploy.options import ImageSize


def backbone_of(network: nn.Module) -> HRViT:
    """Return the backbone of a classifier, a segmenter, or a backbone itself."""
    backbone = network.backbone if isinstance(network, HRViTSegmenter) else network
    if not isinstance(backbone, HRViT):
        raise UsageError(
            f"{type(network).__name__} is not an HRViT", "give a network of hrvit_deploy.model"
        )
    return backbone


def map_sizes(size: ImageSize) -> tuple[MapSize, ...]:
    """Return the sizes of the four maps of an image: 1/4, 1/8, 1/16 and 1/32."""
    return tuple(MapSize(size.height >> k, size.width >> k) for k in (2, 3, 4, 5))


def stages(network: nn.Module) -> Iterator[Stage]:
    """Yield every stage of the network, in the order it runs."""
    for module in backbone_of(network).features:
        if isinstance(module, Stage):
            yield module


def blocks(network: nn.Module, size: ImageSize) -> Iterator[tuple[Block, MapSize]]:
    """Yield every transformer block with the size of the map it works on."""
    for stage in stages(network):
        for branch, branch_size in zip(stage.branches, map_sizes(size), strict=False):
            assert isinstance(branch, nn.ModuleList)
            for block in branch:
                assert isinstance(block, Block)
                yield block, branch_size


def segmenters(network: nn.Module) -> Iterator[tuple[HRViTSegmenter, SegmenterHead]]:
    """Return the network itself and its head, if it segments with a head in training form."""
    if isinstance(network, HRViTSegmenter) and isinstance(network.decode_head, SegmenterHead):
        yield network, network.decode_head
