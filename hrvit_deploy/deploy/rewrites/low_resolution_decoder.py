"""The segmentation head's first two products as one, each branch at its own size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.deploy.sites import segmenters
from hrvit_deploy.model.heads import ConvModule, SegmenterHead, upsample
from hrvit_deploy.model.layers import MapSize
from hrvit_deploy.options import ImageSize


class LowResolutionHead(nn.Module):
    """:class:`SegmenterHead` with projection and fusion multiplied out.

    Projections, interpolation and the fusing convolution are all linear, and
    interpolation keeps constants. So each branch takes the product of its projection with
    its share of the fusion at its own resolution, and the enlarged results are added.
    """

    def __init__(self, head: SegmenterHead) -> None:
        super().__init__()
        fusion = head.fusion_conv
        self.factors = head.factors
        self.norm = fusion.bn
        self.conv_seg = head.conv_seg
        shares = fusion.conv.weight.detach().double().chunk(len(head.convs), dim=1)
        self.convs = nn.ModuleList()
        for projection, share in zip(head.convs, shares, strict=True):
            assert isinstance(projection, ConvModule)
            self.convs.append(_product(projection.conv, share))
        if fusion.conv.bias is not None:
            first = self.convs[0]
            assert isinstance(first, nn.Conv2d)
            assert first.bias is not None
            first.bias += fusion.conv.bias

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map four maps to ``B x classes x H/4 x W/4`` scores, as the original does."""
        finest = MapSize(*maps[0].shape[2:])
        targets: Sequence[MapSize | int] = self.factors or [finest] * len(maps)
        total: Tensor = self.convs[0](maps[0])
        for conv, features, target in zip(self.convs[1:], maps[1:], targets[1:], strict=True):
            total = total + upsample(conv(features), target)
        if self.norm is not None:
            total = self.norm(total)
        scores: Tensor = self.conv_seg(F.relu(total))
        return scores


def _product(projection: nn.Conv2d, share: Tensor) -> nn.Conv2d:
    """Make the 1x1 convolution ``share @ projection``."""
    assert projection.bias is not None
    conv = nn.Conv2d(projection.in_channels, share.shape[0], 1)
    conv.requires_grad_(requires_grad=False)
    factor = share.flatten(1)
    weight = factor @ projection.weight.double().flatten(1)
    conv.weight.copy_(weight[:, :, None, None])
    assert conv.bias is not None
    conv.bias.copy_(torch.mv(factor, projection.bias.double()))
    return conv


def apply(network: nn.Module, size: ImageSize) -> int:  # noqa: ARG001
    """Project and fuse each branch before it is enlarged, not after."""
    changes = 0
    for segmenter, head in segmenters(network):
        segmenter.decode_head = LowResolutionHead(head)
        changes += 1
    return changes
