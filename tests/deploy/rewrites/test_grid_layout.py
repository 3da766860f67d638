"""Transpositions of four dimensions between maps and tokens."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES
from support.rewriting import TOLERANCE, error_of, formed, modules_of, operators, traced
from torch import nn

from hrvit_deploy.deploy.rewrites.grid_layout import GridPatchEmbed, grid_to_map
from hrvit_deploy.model.layers import MapSize, PatchEmbed, tokens_to_map
from hrvit_deploy.options import DECIDING, Task


@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task) -> None:
    form = formed(task, SIZES["both padded"], "grid-layout")
    assert form.changes == {"grid-layout": len(modules_of(form.network, GridPatchEmbed))}
    assert not modules_of(form.network, PatchEmbed)
    assert error_of(form, task) < TOLERANCE


def test_tokens_become_the_same_map() -> None:
    tokens = torch.randn(2, 15, 8)
    size = MapSize(3, 5)
    assert torch.equal(grid_to_map(tokens, 8, size), tokens_to_map(tokens, 8, size))


@pytest.mark.filterwarnings("ignore")
def test_its_graph_transposes_beside_the_convolution() -> None:
    class Bound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = GridPatchEmbed(PatchEmbed(4, 8), MapSize(3, 5))

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.embed(features, MapSize(3, 5))
            return answer

    model = traced(Bound(), torch.zeros(2, 4, 3, 5))
    chain = ["Conv", "Conv", "Transpose", "Reshape", "LayerNormalization"]
    assert operators(model) == chain
    (transpose,) = (node for node in model.graph.node if node.op_type == "Transpose")
    assert list(transpose.attribute[0].ints) == [0, 2, 3, 1]
