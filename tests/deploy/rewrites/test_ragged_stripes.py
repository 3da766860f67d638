"""Padded stripes become short ones, exactly while scores are not extreme."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, distance
from support.rewriting import TOLERANCE, error_of, formed, modules_of

from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.deploy.stripes import Stripes
from hrvit_deploy.model.layers import CrossShapedAttention, MapSize
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import DECIDING, Task

# Padded stripes of the tiny variant: of 4 blocks at 1/16 and 2 at 1/32, per direction.
PLACES = {
    "whole": 0,
    "rows padded": 6,
    "columns padded": 6,
    "both padded": 12,
    "smaller than a window": 12,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task, size: str) -> None:
    form = formed(task, SIZES[size], "static-stripes", "ragged-stripes")
    assert form.changes["ragged-stripes"] == PLACES[size]
    assert error_of(form, task) < TOLERANCE


def test_leaves_neither_masks_nor_padding() -> None:
    form = formed(Task.CLASSIFY, SIZES["both padded"], "static-stripes", "ragged-stripes")
    stripes = [s for s in modules_of(form.network, Stripes) if isinstance(s, Stripes)]
    assert len(stripes) == 2 * 17
    assert all(s.mask is None and not s.padding for s in stripes)
    assert sum(s.remainder > 0 for s in stripes) == 12


def test_does_nothing_without_static_stripes() -> None:
    form = formed(Task.CLASSIFY, SIZES["both padded"], "ragged-stripes")
    assert form.changes == {"ragged-stripes": 0}
    assert error_of(form, Task.CLASSIFY) < TOLERANCE


def difference_at(factor: float) -> float:
    """Between padded and ragged stripes, with scores that many times their usual size."""
    size = MapSize(4, 5)
    attention = CrossShapedAttention(16, 4, window=3).eval()
    set_random_weights(attention, 0)
    with torch.no_grad():
        attention.to_qkv.weight[:16] *= factor
        padded, ragged = (StaticAttention(attention, size) for _ in range(2))
        assert ragged.horizontal.drop_padding()
        assert ragged.vertical.drop_padding()
        assert not ragged.vertical.drop_padding()
        tokens = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(0))
        return distance(padded(tokens, size), ragged(tokens, size))


def test_is_exact_for_usual_scores_and_says_where_it_is_not() -> None:
    assert difference_at(1) < 1e-5
    # Where real scores lie below the mask's -100, padding outweighs them.
    assert difference_at(1000) > 1e-2
