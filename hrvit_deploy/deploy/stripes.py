"""Attention within the stripes of one direction, over maps of one size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.model.layers import MASK_VALUE, MapSize

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """One way from a map to its stripes and back: reshape, permute, reshape.

    Axes of one element are left out, so that a step which would change nothing is none;
    the batch comes first everywhere, and is free.

    Attributes:
        grid: ``B x H x W x C/2``, the map.
        apart: The map with stripes, windows, heads and their channels as axes.
        forth: Order of those axes that brings stripes and heads to the front.
        back: The order that undoes it.
        turned: ``apart`` in the order of ``forth``.
        batch: ``B x groups x tokens x head_dim``, what is multiplied.
    """

    grid: Shape
    apart: Shape
    forth: Shape
    back: Shape
    turned: Shape
    batch: Shape

    def split(self, features: Tensor) -> Tensor:
        """Split a map into the queries or values of its stripes."""
        apart = _reshaped(features, self.grid, self.apart)
        return _reshaped(_permuted(apart, self.forth), self.turned, self.batch)

    def join(self, attended: Tensor) -> Tensor:
        """Put back what :meth:`split` took apart."""
        turned = _reshaped(attended, self.batch, self.turned)
        return _reshaped(_permuted(turned, self.back), self.apart, self.grid)


def _reshaped(features: Tensor, have: Shape, want: Shape) -> Tensor:
    return features if have == want else features.reshape(want)


def _permuted(features: Tensor, order: Shape) -> Tensor:
    return features if order == tuple(sorted(order)) else features.permute(order)


class Stripes(nn.Module):
    """Attention within the stripes of one direction, over maps of one size.

    Where the window leaves a remainder, the map is padded with zeros to whole stripes and
    the padded keys are masked; or the last stripe is ragged, as long as it happens to be.

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
        """Return ``1 x groups x 1 x T`` with -100 at the keys that are padding.

        A padded query's own row needs none: what it attends to is cut off.
        """
        if not self.padding:
            return None
        keys = torch.zeros(self.whole // self.window + 1, self.heads, self.along, self.window)
        keys[-1, :, :, self.remainder :] = MASK_VALUE
        # Tokens are column after column in a vertical stripe, row after row in the others.
        keys = keys if self.vertical else keys.transpose(2, 3)
        return keys.reshape(1, -1, 1, self.along * self.window)

    def drop_padding(self) -> bool:
        """Let the last stripe be ragged; False if it was whole or ragged already."""
        padded = bool(self.padding)
        self.padding, self.mask = 0, None
        return padded

    def forward(self, queries: Tensor, values: Tensor) -> Tensor:
        """Map ``B x H x W x C/2`` queries and values to outputs of that shape."""
        if self.padding:
            return self.attend_padded(queries, values)
        if not self.remainder:
            return self.attend(queries, values, self.window)
        if not self.whole:
            return self.attend(queries, values, self.remainder)
        q, last_q = self.cut(queries, self.remainder)
        v, last_v = self.cut(values, self.remainder)
        parts = self.attend(q, v, self.window), self.attend(last_q, last_v, self.remainder)
        return torch.cat(parts, dim=self.axis)

    def cut(self, features: Tensor, rest: int) -> tuple[Tensor, Tensor]:
        """Cut off the last ``rest`` rows, or columns where stripes are vertical.

        Split, not Slice: TensorRT's parser makes some fifteen layers of one Slice.
        """
        parts = [self.across + self.padding - rest, rest]
        first, last = torch.split(features, parts, dim=self.axis)
        return first, last

    def attend_padded(self, queries: Tensor, values: Tensor) -> Tensor:
        """Attend in all stripes by one product, the last one padded and masked."""
        pad = (0, 0, 0, self.padding) if self.vertical else (0, 0, 0, 0, 0, self.padding)
        padded = F.pad(queries, pad), F.pad(values, pad)
        real, _ = self.cut(self.attend(*padded, self.window), self.padding)
        return real

    def attend(self, queries: Tensor, values: Tensor, window: int) -> Tensor:
        """Attend by softmax in stripes of ``window``; keys are the values."""
        layout = self.layout(queries.shape[self.axis], window)
        q, v = layout.split(queries), layout.split(values)
        scores = q @ v.transpose(-1, -2)
        if self.scale != 1.0:
            scores = scores * self.scale
        if self.mask is not None:
            scores = scores + self.mask
        return layout.join(scores.softmax(dim=-1) @ v)

    def layout(self, across: int, window: int) -> Layout:
        """Plan how a map of ``across`` rows, or columns, falls into stripes of ``window``.

        Runtimes know attention by its four dimensions: stripes join the heads where there
        is one, or where a mask tells them apart, and the batch elsewhere.
        """
        across = int(across)
        stripes, tokens = across // window, window * self.along
        joined = self.heads == 1 or self.mask is not None
        groups = stripes * self.heads if joined else self.heads
        width = self.heads * self.head_dim
        if self.vertical:
            grid = (-1, self.along, across, width)
            extents: Shape = (self.along, stripes, window, self.heads, self.head_dim)
            order: Shape = (1, 3, 0, 2, 4)
        else:
            grid = (-1, across, self.along, width)
            # Horizontal stripes lie one behind the other, as images of a batch do.
            extents = (stripes if joined else 1, tokens, self.heads, self.head_dim)
            order = (0, 2, 1, 3)
        kept = [axis for axis, extent in enumerate(extents) if extent > 1]
        turned = [axis for axis in order if axis in kept]
        return Layout(
            grid,
            (-1, *(extents[axis] for axis in kept)),
            (0, *(1 + kept.index(axis) for axis in turned)),
            (0, *(1 + turned.index(axis) for axis in kept)),
            (-1, *(extents[axis] for axis in turned)),
            (-1, groups, tokens, self.head_dim),
        )
