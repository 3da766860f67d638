"""Values projected twice: as tokens for attention, as a map for the convolution path."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, distance
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed, modules_of

from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.options import DECIDING, Task


@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task) -> None:
    form = formed(task, SIZES["both padded"], "static-stripes", "convolve-values")
    assert form.changes["convolve-values"] == BLOCKS
    assert error_of(form, task) < TOLERANCE


def test_the_convolution_path_takes_its_own_values() -> None:
    form = formed(Task.CLASSIFY, SIZES["whole"], "static-stripes", "convolve-values")
    attention = modules_of(form.network, StaticAttention)[0]
    assert isinstance(attention, StaticAttention)
    assert attention.values is not None
    tokens = torch.randn(1, attention.size.height * attention.size.width, attention.channels)
    before = attention(tokens, attention.size)
    with torch.no_grad():
        attention.values.weight.zero_()
    assert distance(attention(tokens, attention.size), before) > 1e-3


def test_does_nothing_without_static_stripes() -> None:
    form = formed(Task.CLASSIFY, SIZES["whole"], "convolve-values")
    assert form.changes == {"convolve-values": 0}
    assert error_of(form, Task.CLASSIFY) < TOLERANCE
