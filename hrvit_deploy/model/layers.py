"""The building blocks of HRViT in their training form (paper, section 3).

Maps are ``B x C x H x W``; tokens are ``B x N x C`` with ``N = H * W`` in row-major
order. Parameter names are those of published checkpoints.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.model.variants import factorize

# What the published network adds to a score that involves padding.
MASK_VALUE = -100.0


class MapSize(NamedTuple):
    """Height and width of a map, in cells."""

    height: int
    width: int


# Reshapes name every extent but the batch, so that a trace at a fixed size holds
# constants and no arithmetic on shapes.


def tokens_to_map(tokens: Tensor, channels: int, size: MapSize) -> Tensor:
    """Turn ``B x N x C`` tokens into a ``B x C x H x W`` map."""
    return tokens.transpose(1, 2).reshape(-1, channels, *size)


def map_to_tokens(features: Tensor, channels: int, size: MapSize) -> Tensor:
    """Turn a ``B x C x H x W`` map into ``B x N x C`` tokens."""
    return features.reshape(-1, channels, size.height * size.width).transpose(1, 2)


class Stem(nn.Module):
    """Two stride-2 convolutions: the image to a quarter of its size."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width // 2, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, image: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(image))))))


class PatchEmbed(nn.Module):
    """1x1 to the branch's width, 3x3 depthwise, then normalised tokens."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        )
        self.norm = nn.LayerNorm(channels)
        self.channels = channels

    def forward(self, features: Tensor, size: MapSize) -> Tensor:
        tokens: Tensor = self.norm(map_to_tokens(self.proj(features), self.channels, size))
        return tokens


class DiversityShortcut(nn.Module):
    """DES: a cheap Kronecker-factored projection beside attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        rows, columns = self.fold = factorize(channels)
        self.channels = channels
        self.proj_right = nn.Linear(columns, columns)
        self.proj_left = nn.Linear(rows, rows)

    def forward(self, tokens: Tensor) -> Tensor:
        matrices = tokens.reshape(*tokens.shape[:2], *self.fold)
        matrices = F.gelu(self.proj_right(matrices))
        projected: Tensor = self.proj_left(matrices.transpose(-1, -2)).transpose(-1, -2)
        return projected.reshape(tokens.shape)


class MixedConv(nn.Module):
    """Depthwise 3x3 over the first half of the channels, 5x5 over the second."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv_3 = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.conv_5 = nn.Conv2d(half, half, 5, padding=2, groups=half)

    def forward(self, features: Tensor) -> Tensor:
        first, second = features.chunk(2, dim=1)
        return torch.cat((self.conv_3(first), self.conv_5(second)), dim=1)


class MixCFN(nn.Module):
    """The feed-forward network with two depthwise kernels between its linears."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.hidden = channels * ratio
        self.fc1 = nn.Linear(channels, self.hidden)
        self.conv: nn.Module = MixedConv(self.hidden)
        self.fc2 = nn.Linear(self.hidden, channels)

    def forward(self, tokens: Tensor, size: MapSize) -> Tensor:
        hidden = self.conv(tokens_to_map(self.fc1(tokens), self.hidden, size))
        projected: Tensor = self.fc2(F.gelu(map_to_tokens(hidden, self.hidden, size)))
        return projected


def padding_mask(stripes: int, rows: int, width: int, padded_rows: int) -> Tensor:
    """Return ``stripes x T x T`` with -100 wherever a query or a key is padding."""
    padding = torch.zeros(stripes, rows * width, dtype=torch.bool)
    if padded_rows:
        padding[-1, -padded_rows * width :] = True
    return MASK_VALUE * (padding[:, :, None] | padding[:, None, :])


class CrossShapedAttention(nn.Module):
    """HRViTAttn: half the heads in horizontal stripes, half in vertical ones.

    Keys are the values. A depthwise convolution of the values runs in parallel.
    """

    def __init__(self, channels: int, head_dim: int, window: int) -> None:
        super().__init__()
        half = channels // 2
        self.channels = channels
        self.window = window
        self.head_dim = min(head_dim, half)
        self.heads = half // self.head_dim
        self.scale = self.head_dim**-0.5
        self.to_qkv = nn.Linear(channels, 2 * channels)
        self.parallel_conv = nn.Sequential(
            nn.Hardswish(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        )
        self.to_out = nn.Sequential(nn.Linear(channels, channels))
        self.attn_bn = nn.BatchNorm1d(channels)

    def forward(self, tokens: Tensor, size: MapSize) -> Tensor:
        queries, values = self.to_qkv(tokens).chunk(2, dim=-1)
        features = tokens_to_map(values, self.channels, size)
        local = map_to_tokens(self.parallel_conv(features), self.channels, size)
        grid = (-1, *size, self.channels)
        across, down = queries.reshape(grid).chunk(2, dim=-1)
        across_values, down_values = values.reshape(grid).chunk(2, dim=-1)
        horizontal = self.attend(across, across_values)
        vertical = self.attend(down.transpose(1, 2), down_values.transpose(1, 2))
        attended = torch.cat((horizontal, vertical.transpose(1, 2)), dim=-1)
        mixed = self.to_out(F.hardswish(attended.reshape(tokens.shape) + local))
        normalized: Tensor = self.attn_bn(mixed.transpose(1, 2))
        return normalized.transpose(1, 2)

    def attend(self, queries: Tensor, values: Tensor) -> Tensor:
        """Attend within stripes of full rows; both ``B x H x W x C/2``."""
        batch, height, width, channels = queries.shape
        stripes = math.ceil(height / self.window)
        padded_rows = stripes * self.window - height

        def split(rows: Tensor) -> Tensor:
            padded = F.pad(rows, (0, 0, 0, 0, 0, padded_rows))
            heads = padded.reshape(batch, stripes, -1, self.heads, self.head_dim)
            return heads.transpose(2, 3)

        q, v = split(queries), split(values)
        scores = self.scale * q @ v.transpose(-1, -2)
        if padded_rows:
            mask = padding_mask(stripes, self.window, width, padded_rows)
            scores = scores + mask[:, None].to(scores)
        attended: Tensor = (scores.softmax(dim=-1) @ v).transpose(2, 3)
        return attended.reshape(batch, -1, width, channels)[:, :height]


class Block(nn.Module):
    """One HRViT block: attention with DES beside it, then MixCFN."""

    def __init__(self, channels: int, head_dim: int, window: int, ratio: int) -> None:
        super().__init__()
        self.attn_norm = nn.LayerNorm(channels)
        self.attn: nn.Module = CrossShapedAttention(channels, head_dim, window)
        self.des: nn.Module = DiversityShortcut(channels)
        self.ffn_norm = nn.LayerNorm(channels)
        self.ffn: nn.Module = MixCFN(channels, ratio)

    def forward(self, tokens: Tensor, size: MapSize) -> Tensor:
        tokens = tokens + self.attn(self.attn_norm(tokens), size) + self.des(tokens)
        mixed: Tensor = self.ffn(self.ffn_norm(tokens), size)
        return tokens + mixed
