"""Queries of horizontal and of vertical stripes by linear layers of their own."""

from __future__ import annotations

from torch import nn

from hrvit_deploy.deploy.rewrites.separate_projections import cut
from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.options import ImageSize


def apply(network: nn.Module, size: ImageSize) -> int:
    """Project the queries across and down apart, too; TensorRT makes more layers of it."""
    changes = 0
    for block, _ in blocks(network, size):
        attention = block.attn
        if isinstance(attention, StaticAttention) and len(attention.projections) == 2:
            queries, values = attention.projections
            attention.to_qkv = nn.ModuleList([*cut(queries, 2), values])
            changes += 1
    return changes
