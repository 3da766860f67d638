"""The attention scale into the weights that make the queries."""

from __future__ import annotations

import torch
from torch import nn

from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.model.layers import CrossShapedAttention
from hrvit_deploy.options import ImageSize


def apply(network: nn.Module, size: ImageSize) -> int:
    """Scale the query half of ``to_qkv`` instead of every query.

    Padded queries are zero with or without a scale, so padding does not mind.
    """
    changes = 0
    for block, _ in blocks(network, size):
        attention = block.attn
        if isinstance(attention, CrossShapedAttention) and attention.scale != 1.0:
            with torch.no_grad():
                attention.to_qkv.weight[: attention.channels] *= attention.scale
                attention.to_qkv.bias[: attention.channels] *= attention.scale
            attention.scale = 1.0
            changes += 1
    return changes
