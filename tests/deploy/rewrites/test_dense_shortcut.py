"""DES without transpositions."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, distance
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed, modules_of, operators, traced

from hrvit_deploy.deploy.rewrites.dense_shortcut import DenseShortcut
from hrvit_deploy.model.layers import DiversityShortcut
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import DECIDING, Task


@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task) -> None:
    form = formed(task, SIZES["both padded"], "dense-shortcut")
    assert form.changes == {"dense-shortcut": BLOCKS}
    assert error_of(form, task) < TOLERANCE


def test_replaces_every_shortcut() -> None:
    form = formed(Task.CLASSIFY, SIZES["whole"], "dense-shortcut")
    assert len(modules_of(form.network, DenseShortcut)) == BLOCKS
    assert not modules_of(form.network, DiversityShortcut)


@pytest.mark.parametrize("channels", [8, 48, 240, 512])
def test_answers_as_the_factored_one(channels: int) -> None:
    shortcut = DiversityShortcut(channels).eval()
    set_random_weights(shortcut, 0)
    tokens = torch.randn(3, 5, channels)
    with torch.no_grad():
        assert distance(DenseShortcut(shortcut, 5)(tokens), shortcut(tokens)) < 1e-5


def test_its_weight_is_the_kronecker_product() -> None:
    shortcut = DiversityShortcut(48)
    rows, columns = shortcut.fold
    dense = DenseShortcut(shortcut, 6).dense_left.weight.reshape(rows, columns, rows, columns)
    assert torch.equal(dense[:, 3, :, 3], shortcut.proj_left.weight)
    assert not dense[:, 3, :, 4].any()


@pytest.mark.filterwarnings("ignore")
def test_its_graph_transposes_nothing() -> None:
    shortcut, tokens = DiversityShortcut(16).eval(), torch.zeros(2, 6, 16)
    assert "Transpose" in operators(traced(shortcut, tokens))
    kinds = operators(traced(DenseShortcut(shortcut, 6), tokens))
    assert "Transpose" not in kinds
    # Two dimensions into the small factor, three into the dense one.
    assert (kinds.count("Gemm"), kinds.count("MatMul")) == (1, 1)
