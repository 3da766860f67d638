"""Two depthwise kernels as one."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, distance
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed, modules_of, operators, traced

from hrvit_deploy.deploy.rewrites.merge_depthwise import merged
from hrvit_deploy.model.layers import MixedConv
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import DECIDING, Task


@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task) -> None:
    form = formed(task, SIZES["both padded"], "merge-depthwise")
    assert form.changes == {"merge-depthwise": BLOCKS}
    assert error_of(form, task) < TOLERANCE
    assert not modules_of(form.network, MixedConv)


def test_small_kernels_stand_in_a_frame_of_zeros() -> None:
    mixed = MixedConv(6)
    conv = merged(mixed)
    assert conv.weight.shape == (6, 1, 5, 5)
    assert conv.groups == 6
    assert torch.equal(conv.weight[:3, :, 1:4, 1:4], mixed.conv_3.weight)
    assert conv.weight[:3].count_nonzero() == mixed.conv_3.weight.count_nonzero()
    assert torch.equal(conv.weight[3:], mixed.conv_5.weight)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 7)])
def test_answers_as_the_two_at_the_edges_too(size: tuple[int, int]) -> None:
    mixed = MixedConv(6).eval()
    set_random_weights(mixed, 0)
    features = torch.randn(2, 6, *size)
    with torch.no_grad():
        assert distance(merged(mixed)(features), mixed(features)) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_its_graph_is_one_convolution() -> None:
    assert operators(traced(merged(MixedConv(6)), torch.zeros(2, 6, 4, 4))) == ["Conv"]
