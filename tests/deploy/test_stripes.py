"""How maps fall into stripes, and come back."""

from __future__ import annotations

import pytest
import torch

from hrvit_deploy.deploy.stripes import Stripes
from hrvit_deploy.model.layers import MapSize

SIZE = MapSize(6, 8)


def stripes(window: int, heads: int, *, vertical: bool) -> Stripes:
    return Stripes(SIZE, window, heads, 4, vertical=vertical, scale=1.0)


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("window", [1, 2])
def test_what_is_split_is_joined_again(window: int, heads: int, *, vertical: bool) -> None:
    attention = stripes(window, heads, vertical=vertical)
    features = torch.randn(3, *SIZE, 4 * heads)
    layout = attention.layout(attention.across, window)
    split = layout.split(features)
    assert split.ndim == 4
    assert torch.equal(layout.join(split), features)


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_stripe_holds_its_own_tokens_and_no_others(heads: int, *, vertical: bool) -> None:
    attention = stripes(2, heads, vertical=vertical)
    rows, columns = torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")
    number = (columns if vertical else rows) // 2
    features = number[None, :, :, None].expand(1, *SIZE, 4 * heads).float()
    split = attention.layout(attention.across, 2).split(features)
    assert split.shape[-2:] == (2 * (6 if vertical else 8), 4)
    held = split.flatten(0, 1).flatten(1)
    assert torch.equal(held.min(dim=1).values, held.max(dim=1).values)


@pytest.mark.parametrize("vertical", [False, True])
def test_single_rows_of_one_head_need_no_reshape(*, vertical: bool) -> None:
    layout = stripes(1, 1, vertical=vertical).layout(8 if vertical else 6, 1)
    assert layout.grid == layout.apart
    assert layout.turned == layout.batch
    assert (layout.forth == (0, 1, 2, 3)) != vertical
