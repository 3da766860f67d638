"""Layers and heads against their definitions, written out the slow way."""

from __future__ import annotations

import math

import pytest
import torch
from support.networks import CLASSES, answer, distance, noise, tiny
from torch import Tensor
from torch.nn import functional as F

from hrvit_deploy.model.heads import HRViTClassifier, HRViTSegmenter
from hrvit_deploy.model.hrvit import Fusion
from hrvit_deploy.model.layers import (
    CrossShapedAttention,
    DiversityShortcut,
    MapSize,
    MixCFN,
    MixedConv,
    padding_mask,
)
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import ImageSize, Task

CHANNELS, HEAD_DIM = 16, 4


def tokens_of(size: MapSize, channels: int = CHANNELS, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, size.height * size.width, channels, generator=generator)


def attend_slowly(
    attention: CrossShapedAttention, queries: Tensor, values: Tensor, window: int
) -> Tensor:
    """Every stripe and head by itself; ``B x H x W x C/2``, stripes of full rows."""
    batch, height, width, channels = queries.shape
    result = torch.zeros_like(values)
    for top in range(0, height, window):
        rows = min(window, height - top)
        for head in range(channels // attention.head_dim):
            part = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            shape = (batch, rows * width, attention.head_dim)
            query = queries[:, top : top + rows, :, part].reshape(shape)
            value = values[:, top : top + rows, :, part].reshape(shape)
            scores = query @ value.transpose(1, 2) / math.sqrt(attention.head_dim)
            # Padded keys hold zeros: their score is that of the mask.
            padding = torch.full((*scores.shape[:2], (window - rows) * width), -100.0)
            weights = torch.cat((scores, padding), dim=2).softmax(dim=2)
            attended = weights[..., : rows * width] @ value
            result[:, top : top + rows, :, part] = attended.reshape(batch, rows, width, -1)
    return result


@pytest.mark.parametrize("size", [MapSize(6, 9), MapSize(7, 9), MapSize(6, 8), MapSize(2, 1)])
@pytest.mark.parametrize("head_dim", [HEAD_DIM, 8, 32])
def test_attention_is_its_definition(size: MapSize, head_dim: int) -> None:
    attention = CrossShapedAttention(CHANNELS, head_dim, window=3).eval()
    set_random_weights(attention, 1)
    tokens = tokens_of(size)
    with torch.no_grad():
        queries, values = attention.to_qkv(tokens).chunk(2, dim=-1)
        grid = (2, *size, CHANNELS)
        across, down = queries.reshape(grid).chunk(2, dim=-1)
        across_values, down_values = values.reshape(grid).chunk(2, dim=-1)
        horizontal = attend_slowly(attention, across, across_values, 3)
        vertical = attend_slowly(
            attention, down.transpose(1, 2), down_values.transpose(1, 2), 3
        ).transpose(1, 2)
        features = values.reshape(grid).permute(0, 3, 1, 2)
        local = attention.parallel_conv(features).permute(0, 2, 3, 1)
        hidden = F.hardswish(torch.cat((horizontal, vertical), dim=-1) + local)
        normed = attention.attn_bn(attention.to_out(hidden).permute(0, 3, 1, 2).flatten(2))
        expected = normed.transpose(1, 2)
        assert distance(attention(tokens, size), expected) < 1e-5


def test_a_half_narrower_than_a_head_is_one_head() -> None:
    attention = CrossShapedAttention(CHANNELS, 32, window=3)
    assert (attention.heads, attention.head_dim, attention.scale) == (1, 8, 8**-0.5)


def test_the_mask_hides_padding_in_the_last_stripe_alone() -> None:
    mask = padding_mask(stripes=2, rows=3, width=2, padded_rows=1)
    assert mask.shape == (2, 6, 6)
    assert not mask[0].any()
    assert not mask[1, :4, :4].any()
    assert (mask[1, 4:] == -100).all()
    assert (mask[1, :, 4:] == -100).all()


@pytest.mark.parametrize(("channels", "fold"), [(48, (6, 8)), (240, (15, 16)), (32, (4, 8))])
def test_the_diversity_shortcut_is_its_definition(channels: int, fold: tuple[int, int]) -> None:
    shortcut = DiversityShortcut(channels).eval()
    set_random_weights(shortcut, 0)
    assert shortcut.fold == fold
    tokens = tokens_of(MapSize(2, 2), channels)
    with torch.no_grad():
        matrix = tokens[1, 3].reshape(fold)
        right, left = shortcut.proj_right, shortcut.proj_left
        inner = F.gelu(matrix @ right.weight.T + right.bias)
        expected = left.weight @ inner + left.bias[:, None]
        assert distance(shortcut(tokens)[1, 3], expected.reshape(-1)) < 1e-5


def test_mixcfn_runs_half_its_channels_through_each_kernel() -> None:
    mixed, size = MixCFN(CHANNELS, ratio=2).eval(), MapSize(5, 4)
    set_random_weights(mixed, 0)
    tokens = tokens_of(size)
    with torch.no_grad():
        hidden = mixed.fc1(tokens).transpose(1, 2).reshape(2, 2 * CHANNELS, *size)
        assert isinstance(mixed.conv, MixedConv)
        small = mixed.conv.conv_3(hidden[:, :CHANNELS])
        large = mixed.conv.conv_5(hidden[:, CHANNELS:])
        joined = torch.cat((small, large), dim=1).flatten(2).transpose(1, 2)
        assert distance(mixed(tokens, size), mixed.fc2(F.gelu(joined))) < 1e-5


def test_fusions_bring_every_map_to_every_size() -> None:
    fusion = Fusion([8, 16], [8, 16, 32]).eval()
    set_random_weights(fusion, 0)
    with torch.no_grad():
        maps = fusion([torch.randn(1, 8, 8, 12), torch.randn(1, 16, 4, 6)])
    assert [tuple(m.shape) for m in maps] == [(1, 8, 8, 12), (1, 16, 4, 6), (1, 32, 2, 3)]


def test_the_segmenter_enlarges_its_quarter_scores() -> None:
    network = tiny(Task.SEGMENT)
    assert isinstance(network, HRViTSegmenter)
    image = noise(ImageSize(64, 96))
    with torch.no_grad():
        scores = network.scores(image)
    assert scores.shape == (1, CLASSES, 16, 24)
    enlarged = F.interpolate(scores, (64, 96), mode="bilinear", align_corners=False)
    assert distance(answer(network, image), enlarged) < 1e-6


def test_the_classifier_scores_are_its_answer() -> None:
    network, image = tiny(Task.CLASSIFY), noise(ImageSize(64, 96))
    assert isinstance(network, HRViTClassifier)
    with torch.no_grad():
        assert distance(network.scores(image), network(image)) < 1e-6
