"""MixCFN's two depthwise convolutions as one."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.model.layers import MixedConv
from hrvit_deploy.options import ImageSize


def merged(mixed: MixedConv) -> nn.Conv2d:
    """Merge into one 5x5 depthwise convolution; frame the 3x3 kernels with zeros."""
    half = mixed.conv_3.out_channels
    conv = nn.Conv2d(2 * half, 2 * half, 5, padding=2, groups=2 * half)
    conv.requires_grad_(requires_grad=False)
    for layer, part in ((mixed.conv_3, slice(half)), (mixed.conv_5, slice(half, None))):
        assert layer.bias is not None
        assert conv.bias is not None
        frame = (5 - layer.kernel_size[0]) // 2
        conv.weight[part] = F.pad(layer.weight, [frame] * 4)
        conv.bias[part] = layer.bias
    return conv


def apply(network: nn.Module, size: ImageSize) -> int:
    """Run both kernel sizes as one 5x5, without splitting and joining the channels."""
    changes = 0
    for block, _ in blocks(network, size):
        if isinstance(block.ffn.conv, MixedConv):
            block.ffn.conv = merged(block.ffn.conv)
            changes += 1
    return changes
