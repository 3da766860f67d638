"""Attention with fixed stripes, four-dimensional products and constant padding masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.deploy.stripes import Stripes
from hrvit_deploy.model.layers import CrossShapedAttention, MapSize
from hrvit_deploy.options import ImageSize


class StaticAttention(nn.Module):
    """:class:`CrossShapedAttention` for maps of one size, with the same parameters.

    Attributes:
        tokens: Shape that tokens leave it in; any that holds them may come.
        values: A projection of the values for the convolution path alone; None where it
            takes those of attention.
        convolved: Whether ``to_out`` is a convolution, on maps.
    """

    convolved = False

    def __init__(self, attention: CrossShapedAttention, size: MapSize) -> None:
        super().__init__()
        self.size = size
        self.channels = attention.channels
        self.tokens: tuple[int, ...] = (-1, size.height * size.width, self.channels)
        self.to_qkv: nn.Linear | nn.ModuleList = attention.to_qkv
        self.parallel_conv = attention.parallel_conv
        self.to_out = attention.to_out
        self.attn_bn = attention.attn_bn
        self.values: nn.Conv2d | None = None
        self.horizontal, self.vertical = (
            Stripes(
                size,
                attention.window,
                attention.heads,
                attention.head_dim,
                vertical=vertical,
                scale=attention.scale,
            )
            for vertical in (False, True)
        )

    @property
    def normalizes(self) -> bool:
        """Whether its BatchNorm is still its own, not folded into ``to_out``."""
        return not isinstance(self.attn_bn, nn.Identity)

    def forward(self, tokens: Tensor, size: MapSize) -> Tensor:  # noqa: ARG002
        """Map tokens to tokens, ``B x N x C`` or as ``tokens`` says."""
        across, down, values = self.project(tokens)
        across_values, down_values = torch.split(values, self.channels // 2, dim=-1)
        attended = torch.cat(
            (self.horizontal(across, across_values), self.vertical(down, down_values)), dim=-1
        )
        local = self.convolve(tokens, values)
        if self.convolved:
            mixed = self.to_out(F.hardswish(attended.permute(0, 3, 1, 2) + local))
            out: Tensor = mixed.permute(0, 2, 3, 1).reshape(self.tokens)
            return out
        summed = (attended + local.permute(0, 2, 3, 1)).reshape(self.tokens)
        out = self.to_out(F.hardswish(summed))
        return self.attn_bn(out.transpose(1, 2)).transpose(1, 2) if self.normalizes else out

    @property
    def projections(self) -> tuple[nn.Linear, ...]:
        """The one to three layers of ``to_qkv``; the last rows of the last make values."""
        layers = [self.to_qkv] if isinstance(self.to_qkv, nn.Linear) else self.to_qkv
        return tuple(layer for layer in layers if isinstance(layer, nn.Linear))

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project queries across and down, ``B x H x W x C/2`` each, and values, ``C`` wide."""
        maps = [
            layer(tokens).reshape(-1, *self.size, layer.out_features)
            for layer in self.projections
        ]
        # Whatever the layers make together comes first.
        missing = 3 - len(maps)
        if missing:
            widths = [self.channels // 2] * 2 + [self.channels]
            maps[:1] = torch.split(maps[0], widths[: missing + 1], dim=-1)
        across, down, values = maps
        return across, down, values

    def convolve(self, tokens: Tensor, values: Tensor) -> Tensor:
        """Compute the convolution path: ``B x C x H x W``.

        A transposition beside a convolution costs runtimes little, one before the
        activation does; so the activation comes first.
        """
        activation, convolution = self.parallel_conv
        if self.values is None:
            activated = activation(values).permute(0, 3, 1, 2)
        else:
            grid = tokens.reshape(-1, *self.size, self.channels).permute(0, 3, 1, 2)
            activated = activation(self.values(grid))
        local: Tensor = convolution(activated)
        return local


def apply(network: nn.Module, size: ImageSize) -> int:
    """Cut every map into its stripes by constants, and mask padding where there is any.

    The published mask also hides the rows of padded queries, which are cut off anyway.
    """
    changes = 0
    for block, map_size in blocks(network, size):
        if isinstance(block.attn, CrossShapedAttention):
            block.attn = StaticAttention(block.attn, map_size)
            changes += 1
    return changes
