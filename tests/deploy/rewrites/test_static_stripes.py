"""Stripes cut by constants, with masks where a window leaves a remainder."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, distance
from support.rewriting import (
    BLOCKS,
    TOLERANCE,
    error_of,
    formed,
    modules_of,
    operators,
    traced,
)
from torch import Tensor, nn

from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.deploy.stripes import Stripes
from hrvit_deploy.model.layers import MASK_VALUE, CrossShapedAttention, MapSize
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import DECIDING, Task

CHANNELS = 16
# What a window of 3 does to a map: rows to horizontal stripes, columns to vertical ones.
MAPS = {
    "whole": (MapSize(6, 9), 0),
    "rows padded": (MapSize(7, 9), 1),
    "columns padded": (MapSize(6, 8), 1),
    "both padded": (MapSize(4, 5), 2),
    "smaller than a window": (MapSize(2, 1), 2),
    "smaller in one direction": (MapSize(1, 6), 1),
}
# What computes a mask from shapes, or decides by value.
BRANCHES = {"If", "Loop", "Where", "Equal", "Or", "Range", "ScatterND", "Expand", "NonZero"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task, size: str) -> None:
    form = formed(task, SIZES[size], "static-stripes")
    assert form.changes == {"static-stripes": BLOCKS}
    assert error_of(form, task) < TOLERANCE


def attention_of(head_dim: int = 4, window: int = 3) -> CrossShapedAttention:
    attention = CrossShapedAttention(CHANNELS, head_dim, window).eval()
    set_random_weights(attention, 0)
    return attention


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize("head_dim", [4, 32], ids=["two heads", "one head"])
@pytest.mark.parametrize("window", [1, 3])
def test_attention_answers_as_the_published_one(size: str, head_dim: int, window: int) -> None:
    attention, map_size = attention_of(head_dim, window), MAPS[size][0]
    static = StaticAttention(attention, map_size)
    tokens = torch.randn(2, map_size.height * map_size.width, CHANNELS)
    with torch.no_grad():
        assert distance(static(tokens, map_size), attention(tokens, map_size)) < 1e-5


@pytest.mark.parametrize("size", MAPS)
def test_masks_stand_only_where_a_stripe_is_padded(size: str) -> None:
    map_size, padded = MAPS[size]
    static = StaticAttention(attention_of(), map_size)
    held = [s.mask for s in (static.horizontal, static.vertical) if s.mask is not None]
    assert len(held) == padded
    assert static.horizontal.whole == map_size.height // 3 * 3
    assert static.vertical.whole == map_size.width // 3 * 3


def test_the_mask_hides_exactly_the_padded_keys() -> None:
    static = StaticAttention(attention_of(), MapSize(4, 5))
    horizontal, vertical = static.horizontal.mask, static.vertical.mask
    assert horizontal is not None
    assert vertical is not None
    # Two stripes of two heads each; the last stripe alone is padded.
    assert horizontal.shape == (1, 2 * 2, 1, 3 * 5)
    assert vertical.shape == (1, 2 * 2, 1, 4 * 3)
    # One row is real of three, and of every row two columns of three are.
    rows = torch.zeros(2, 2, 3, 5)
    rows[1, :, 1:] = MASK_VALUE
    columns = torch.zeros(2, 2, 4, 3)
    columns[1, :, :, 2] = MASK_VALUE
    assert torch.equal(horizontal.flatten(), rows.flatten())
    assert torch.equal(vertical.flatten(), columns.flatten())


def test_masks_are_not_part_of_the_state() -> None:
    attention = attention_of()
    static = StaticAttention(attention, MapSize(4, 5))
    assert static.state_dict().keys() == attention.state_dict().keys()


def test_padding_would_show_without_a_mask() -> None:
    size = MapSize(4, 5)
    static = StaticAttention(attention_of(), size)
    tokens = torch.randn(2, 20, CHANNELS)
    with torch.no_grad():
        masked = static(tokens, size)
        for stripes in (static.horizontal, static.vertical):
            assert stripes.mask is not None
            stripes.mask = torch.zeros_like(stripes.mask)
        assert distance(static(tokens, size), masked) > 1e-3


class At(nn.Module):
    """Attention over maps of one size, to trace."""

    def __init__(self, attention: nn.Module, size: MapSize) -> None:
        super().__init__()
        self.attention = attention
        self.size = size

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.attention(tokens, self.size)
        return output


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.filterwarnings("ignore")
def test_nothing_in_the_graph_depends_on_values(size: str) -> None:
    map_size, padded = MAPS[size]
    static = StaticAttention(attention_of(), map_size)
    tokens = torch.zeros(2, map_size.height * map_size.width, CHANNELS)
    kinds = operators(traced(At(static, map_size), tokens))
    assert not BRANCHES & set(kinds)
    # Queries and values are padded in each direction that needs it, for one product.
    assert kinds.count("Pad") == 2 * padded
    assert kinds.count("Softmax") == 2


@pytest.mark.filterwarnings("ignore")
def test_the_published_attention_does_compute_its_masks() -> None:
    size = MapSize(4, 5)
    tokens = torch.zeros(2, 20, CHANNELS)
    assert BRANCHES & set(operators(traced(At(attention_of(), size), tokens)))


def test_every_block_gets_the_size_of_its_own_map() -> None:
    form = formed(Task.SEGMENT, SIZES["rows padded"], "static-stripes")
    sizes = {
        module.size
        for module in modules_of(form.network, StaticAttention)
        if isinstance(module, StaticAttention)
    }
    assert sizes == {(16, 24), (8, 12), (4, 6), (2, 3)}
    padded = [s for s in modules_of(form.network, Stripes) if isinstance(s, Stripes)]
    assert sum(s.mask is not None for s in padded) == 6
    assert not any(s.mask is not None for s in padded if s.vertical)
