"""Queries and values by linear layers of their own."""

from __future__ import annotations

from torch import nn

from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.options import ImageSize


def apply(network: nn.Module, size: ImageSize) -> int:
    """Project queries and values apart, instead of splitting what one layer makes of both.

    Runtimes copy each part of a split along the channels, which costs more than two
    smaller products do.
    """
    changes = 0
    for block, _ in blocks(network, size):
        attention = block.attn
        if isinstance(attention, StaticAttention) and len(attention.projections) == 1:
            parts = cut(attention.projections[0], 2)
            attention.to_qkv = nn.ModuleList(parts)
            changes += 1
    return changes


def cut(linear: nn.Linear, count: int) -> list[nn.Linear]:
    """Cut a layer into some that make an equal share of the outputs each, in order."""
    layers = []
    for weight, bias in zip(linear.weight.chunk(count), linear.bias.chunk(count), strict=True):
        layer = nn.Linear(linear.in_features, len(weight)).requires_grad_(requires_grad=False)
        layer.weight.copy_(weight.detach())
        layer.bias.copy_(bias.detach())
        layers.append(layer)
    return layers
