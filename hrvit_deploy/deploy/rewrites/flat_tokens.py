"""Tokens of all images as rows of one matrix."""

from __future__ import annotations

from typing import TypeGuard

from torch import nn

from hrvit_deploy.deploy.rewrites.convolve_ffn import ConvolvedFFN
from hrvit_deploy.deploy.rewrites.dense_shortcut import DenseShortcut
from hrvit_deploy.deploy.rewrites.grid_layout import GridPatchEmbed
from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.deploy.sites import stages
from hrvit_deploy.model.layers import Block
from hrvit_deploy.options import ImageSize

Flattening = StaticAttention | GridPatchEmbed | DenseShortcut | ConvolvedFFN


def apply(network: nn.Module, size: ImageSize) -> int:  # noqa: ARG001
    """Keep tokens in two dimensions, where a linear layer is one product with its bias.

    Runtimes reshape three dimensions to two and back around each linear layer, and fuse
    some of the sums between in ways that cost more than they save.
    """
    changes = 0
    for stage in stages(network):
        for embed, branch in zip(stage.patch_embed, stage.branches, strict=True):
            assert isinstance(branch, nn.ModuleList)
            parts = [embed, *(part for block in branch for part in parts_of(block))]
            flattening = [part for part in parts if takes_rows(part)]
            # One that needs three dimensions needs them of all the others.
            if len(flattening) == len(parts):
                changes += sum(map(flatten, flattening)) > 0
    return changes


def parts_of(block: nn.Module) -> tuple[nn.Module, ...]:
    """Yield the parts of a block that give tokens a shape."""
    assert isinstance(block, Block)
    return block.attn, block.des, block.ffn


def takes_rows(part: nn.Module) -> TypeGuard[Flattening]:
    """Return whether it takes tokens in any shape, and returns them in a requested one."""
    if isinstance(part, StaticAttention):
        return not part.normalizes
    return isinstance(part, GridPatchEmbed | DenseShortcut | ConvolvedFFN)


def flatten(part: Flattening) -> bool:
    """Make it return rows of one matrix; return False if it did already."""
    rows = part.tokens[0], part.tokens[-1]
    changed = part.tokens != rows
    part.tokens = rows
    return changed
