"""Tokens in two dimensions, wherever nothing needs three."""

from __future__ import annotations

import pytest
from support.networks import SIZES, noise
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed, operators, traced

from hrvit_deploy.deploy.sites import stages
from hrvit_deploy.options import DECIDING, Task

NEEDED = (
    "fold-batch-norm",
    "static-stripes",
    "dense-shortcut",
    "convolve-ffn",
    "grid-layout",
    "flat-tokens",
)


@pytest.mark.parametrize("task", DECIDING)
@pytest.mark.parametrize("batch", [1, 3])
def test_is_exact(task: Task, batch: int) -> None:
    form = formed(task, SIZES["both padded"], *NEEDED)
    branches = sum(len(stage.branches) for stage in stages(form.network))
    assert form.changes["flat-tokens"] == branches
    assert error_of(form, task, batch) < TOLERANCE


@pytest.mark.parametrize("missing", NEEDED[:-1])
def test_does_nothing_where_one_needs_three_dimensions(missing: str) -> None:
    form = formed(Task.CLASSIFY, SIZES["whole"], *(name for name in NEEDED if name != missing))
    assert form.changes["flat-tokens"] == 0
    assert error_of(form, Task.CLASSIFY) < TOLERANCE


@pytest.mark.filterwarnings("ignore")
def test_linear_layers_are_one_product_with_their_bias() -> None:
    kinds = {}
    for names in (NEEDED, NEEDED[:-1]):
        form = formed(Task.CLASSIFY, SIZES["whole"], "static-maps", *names)
        kinds[len(names)] = operators(traced(form.network, noise(form.size, 1)))
    # Of each block: to_qkv, to_out and the dense factor of DES.
    assert kinds[6].count("Gemm") == kinds[5].count("Gemm") + 3 * BLOCKS
    assert kinds[6].count("Add") == kinds[5].count("Add") - 3 * BLOCKS
