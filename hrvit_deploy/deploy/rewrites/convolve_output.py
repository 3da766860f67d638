"""Attention's last linear layer as a 1x1 convolution."""

from __future__ import annotations

from torch import nn

from hrvit_deploy.deploy.rewrites.convolve_ffn import convolution
from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.options import ImageSize


def apply(network: nn.Module, size: ImageSize) -> int:
    """Project what attention returns as a map, in the layout its convolution path has."""
    changes = 0
    for block, _ in blocks(network, size):
        attention = block.attn
        if not isinstance(attention, StaticAttention):
            continue
        if attention.convolved or attention.normalizes:
            continue
        (linear,) = attention.to_out
        assert isinstance(linear, nn.Linear)
        attention.to_out = nn.Sequential(convolution(linear))
        attention.convolved = True
        changes += 1
    return changes
