"""Queries and values come from layers of their own, and less is split."""

from __future__ import annotations

import pytest
from support.networks import SIZES, noise
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed, modules_of, traced

from hrvit_deploy.deploy.rewrites.static_stripes import StaticAttention
from hrvit_deploy.options import DECIDING, Task

APART = ("static-stripes", "separate-projections")
FURTHER = (*APART, "separate-queries")


@pytest.mark.parametrize("names", [APART, FURTHER])
@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task, names: tuple[str, ...]) -> None:
    form = formed(task, SIZES["both padded"], *names)
    assert form.changes == dict.fromkeys(names, BLOCKS)
    assert error_of(form, task) < TOLERANCE


@pytest.mark.parametrize(("names", "layers"), [(APART, 2), (FURTHER, 3)])
def test_parameters_stay_as_many(names: tuple[str, ...], layers: int) -> None:
    counts = []
    for chosen in (names, APART[:1]):
        form = formed(Task.CLASSIFY, SIZES["whole"], *chosen)
        counts.append(sum(parameter.numel() for parameter in form.network.parameters()))
    assert counts[0] == counts[1]

    apart = formed(Task.CLASSIFY, SIZES["whole"], *names).network
    for attention in modules_of(apart, StaticAttention):
        assert isinstance(attention, StaticAttention)
        assert len(attention.projections) == layers
        assert attention.projections[-1].out_features == attention.channels


@pytest.mark.parametrize(
    ("names", "per_block"), [(APART[:1], [2, 3]), (APART, [2, 2]), (FURTHER, [2])]
)
def test_less_is_split(names: tuple[str, ...], per_block: list[int]) -> None:
    form = formed(Task.CLASSIFY, SIZES["whole"], *names)
    nodes = traced(form.network, noise(SIZES["whole"], 1)).graph.node
    parts = sorted(len(node.output) for node in nodes if node.op_type == "Split")
    assert parts == sorted(per_block * BLOCKS)


@pytest.mark.parametrize("names", [APART, FURTHER])
def test_the_values_may_be_convolved_too(names: tuple[str, ...]) -> None:
    form = formed(Task.SEGMENT, SIZES["both padded"], *names, "convolve-values")
    assert form.changes["convolve-values"] == BLOCKS
    assert error_of(form, Task.SEGMENT) < TOLERANCE


@pytest.mark.parametrize("name", FURTHER[1:])
def test_does_nothing_without_what_it_needs(name: str) -> None:
    form = formed(Task.CLASSIFY, SIZES["whole"], name)
    assert form.changes == {name: 0}
    assert error_of(form, Task.CLASSIFY) < TOLERANCE
