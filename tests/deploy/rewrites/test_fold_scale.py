"""The attention scale goes into the weights of the queries, once."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, tiny
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed

from hrvit_deploy.deploy.rewrites.fold_scale import apply
from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.model.layers import CrossShapedAttention
from hrvit_deploy.options import DECIDING, ImageSize, Task


@pytest.mark.parametrize("size", ["whole", "both padded"])
@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task, size: str) -> None:
    assert error_of(formed(task, SIZES[size], "fold-scale"), task) < TOLERANCE


def attentions(network: torch.nn.Module, size: ImageSize) -> list[CrossShapedAttention]:
    found = [block.attn for block, _ in blocks(network, size)]
    return [attention for attention in found if isinstance(attention, CrossShapedAttention)]


def test_scales_the_queries_and_not_the_values() -> None:
    size = SIZES["whole"]
    form = formed(Task.CLASSIFY, size, "fold-scale")
    assert form.changes == {"fold-scale": BLOCKS}
    trained = attentions(tiny(Task.CLASSIFY), size)
    folded = attentions(form.network, size)
    assert len(trained) == len(folded) == BLOCKS
    for before, after in zip(trained, folded, strict=True):
        assert after.scale == 1
        assert before.scale == before.head_dim**-0.5
        for name in ("weight", "bias"):
            old, new = (getattr(a.to_qkv, name) for a in (before, after))
            assert torch.equal(new[: before.channels], before.scale * old[: before.channels])
            assert torch.equal(new[before.channels :], old[before.channels :])


def test_runs_once() -> None:
    size = SIZES["whole"]
    form = formed(Task.CLASSIFY, size, "fold-scale")
    assert apply(form.network, size) == 0
    assert error_of(form, Task.CLASSIFY) < TOLERANCE


def test_static_stripes_keep_a_scale_that_was_not_folded() -> None:
    form = formed(Task.CLASSIFY, SIZES["both padded"], "static-stripes")
    assert error_of(form, Task.CLASSIFY) < TOLERANCE
    assert apply(form.network, form.size) == 0
