"""Attention with fixed stripes, four-dimensional products and constant padding masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.model.layers import (
    MASK_VALUE,
    CrossShapedAttention,
    MapSize,
)
from hrvit_deploy.options import ImageSize


class Stripes(nn.Module):
    """Attention within the stripes of one direction, over maps of one size.

    Whole stripes run as one batch. Where the window leaves a remainder, the last stripe
    runs alone: padded with zeros and masked, or ragged, as long as it happens to be.

    Args:
        size: Height and width of the map.
        window: Rows of a stripe, or columns of a vertical one.
        vertical: Whether stripes run from top to bottom.
        heads: Heads within this half of the channels.
        head_dim: Channels of a head.
        scale: Factor of the queries; 1 where the weights hold it.
    """

    mask: Tensor | None

    def __init__(
        self,
        size: MapSize,
        window: int,
        heads: int,
        head_dim: int,
        *,
        vertical: bool,
        scale: float,
    ) -> None:
        super().__init__()
        self.vertical = vertical
        self.axis = 2 if vertical else 1
        self.along, self.across = (size.height, size.width)[:: 1 if vertical else -1]
        self.window = window
        self.heads = heads
        self.head_dim = head_dim
        self.scale = scale
        self.whole = self.across // window * window
        self.remainder = self.across - self.whole
        self.padding = window - self.remainder if self.remainder else 0
        self.register_buffer("mask", self._padding_mask(), persistent=False)

    def _padding_mask(self) -> Tensor | None:
        """``1 x 1 x 1 x T`` with -100 at the keys that are padding.

        A padded query's own row needs none: what it attends to is cut off.
        """
        if not self.padding:
            return None
        keys = torch.zeros(self.window, self.along)
        keys[self.remainder :] = MASK_VALUE
        return keys.reshape(1, 1, 1, -1)

    def drop_padding(self) -> bool:
        """Let the last stripe be ragged; False if it was whole or ragged already."""
        padded = bool(self.padding)
        self.padding, self.mask = 0, None
        return padded

    def forward(self, queries: Tensor, values: Tensor) -> Tensor:
        """``B x H x W x C/2`` queries and values to outputs of that shape."""
        stripes = self.whole // self.window
        if not self.remainder:
            return self.attend(queries, values, self.window, stripes)
        if not self.whole:
            return self.attend_last(queries, values)
        q, last_q = self.cut(queries)
        v, last_v = self.cut(values)
        parts = self.attend(q, v, self.window, stripes), self.attend_last(last_q, last_v)
        return torch.cat(parts, dim=self.axis)

    def cut(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that fill stripes, or columns where those are vertical, and the rest.

        Split, not Slice: TensorRT's parser makes some fifteen layers of one Slice.
        """
        filled, rest = torch.split(features, [self.whole, self.remainder], dim=self.axis)
        return filled, rest

    def attend_last(self, queries: Tensor, values: Tensor) -> Tensor:
        """Attention in the stripe that the window does not fill."""
        if not self.padding:
            return self.attend(queries, values, self.remainder, 1)
        pad = (0, 0, 0, self.padding) if self.vertical else (0, 0, 0, 0, 0, self.padding)
        padded = F.pad(queries, pad), F.pad(values, pad)
        attended = self.attend(*padded, self.window, 1, self.mask)
        real, _ = torch.split(attended, [self.remainder, self.padding], dim=self.axis)
        return real

    def attend(
        self,
        queries: Tensor,
        values: Tensor,
        window: int,
        stripes: int,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Softmax attention in that many stripes of ``window``; keys are the values."""
        q, v = self.split(queries, window), self.split(values, window)
        scores = q @ v.transpose(-1, -2)
        if self.scale != 1.0:
            scores = scores * self.scale
        if mask is not None:
            scores = scores + mask
        return self.join(scores.softmax(dim=-1) @ v, window, stripes)

    def split(self, features: Tensor, window: int) -> Tensor:
        """``B x H x W x C/2`` to ``(B * stripes) x heads x tokens x head_dim``.

        Vertical stripes are horizontal ones of the transposed map.
        """
        if self.vertical:
            features = features.transpose(1, 2)
        tokens = window * self.along
        if self.heads > 1:
            features = features.reshape(-1, tokens, self.heads, self.head_dim).transpose(1, 2)
        return features.reshape(-1, self.heads, tokens, self.head_dim)

    def join(self, attended: Tensor, window: int, stripes: int) -> Tensor:
        """What :meth:`split` took apart, put back."""
        if self.heads > 1:
            attended = attended.transpose(1, 2)
        extent = window * stripes
        joined = attended.reshape(-1, extent, self.along, self.heads * self.head_dim)
        return joined.transpose(1, 2) if self.vertical else joined


class StaticAttention(nn.Module):
    """:class:`CrossShapedAttention` for maps of one size, with the same parameters."""

    def __init__(self, attention: CrossShapedAttention, size: MapSize) -> None:
        super().__init__()
        self.size = size
        self.channels = attention.channels
        self.to_qkv = attention.to_qkv
        self.parallel_conv = attention.parallel_conv
        self.to_out = attention.to_out
        self.attn_bn = attention.attn_bn
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

    def forward(self, tokens: Tensor, size: MapSize) -> Tensor:  # noqa: ARG002
        """``B x N x C`` tokens to tokens, as the original does."""
        half = self.channels // 2
        projected = self.to_qkv(tokens).reshape(-1, *self.size, 2 * self.channels)
        across, down, values = torch.split(projected, [half, half, self.channels], dim=-1)
        # Of four dimensions and next to a convolution, a transposition costs runtimes little.
        local = self.parallel_conv(values.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        across_values, down_values = torch.split(values, half, dim=-1)
        attended = torch.cat(
            (self.horizontal(across, across_values), self.vertical(down, down_values)), dim=-1
        )
        summed = (attended + local).reshape(
            -1, self.size.height * self.size.width, self.channels
        )
        mixed: Tensor = self.to_out(F.hardswish(summed))
        if isinstance(self.attn_bn, nn.Identity):
            return mixed
        normalized: Tensor = self.attn_bn(mixed.transpose(1, 2)).transpose(1, 2)
        return normalized


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
