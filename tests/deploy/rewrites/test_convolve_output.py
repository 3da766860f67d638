"""Attention's output projected as a map."""

from __future__ import annotations

import pytest
from support.networks import SIZES
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed, modules_of
from torch import nn

from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.options import DECIDING, Task

NEEDED = ("fold-batch-norm", "static-stripes", "convolve-output")


@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task) -> None:
    form = formed(task, SIZES["both padded"], *NEEDED)
    assert form.changes["convolve-output"] == BLOCKS
    assert error_of(form, task) < TOLERANCE
    for attention in modules_of(form.network, StaticAttention):
        assert isinstance(attention, StaticAttention)
        assert isinstance(attention.to_out[0], nn.Conv2d)


@pytest.mark.parametrize("missing", NEEDED[:2])
def test_does_nothing_without_what_it_needs(missing: str) -> None:
    names = [name for name in NEEDED if name != missing]
    form = formed(Task.CLASSIFY, SIZES["both padded"], *names)
    assert form.changes["convolve-output"] == 0
    assert error_of(form, Task.CLASSIFY) < TOLERANCE
