"""MixCFN as convolutions."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, distance
from support.rewriting import BLOCKS, TOLERANCE, error_of, formed, modules_of, operators, traced
from torch import nn

from hrvit_deploy.deploy.rewrites.convolve_ffn import ConvolvedFFN, convolution
from hrvit_deploy.deploy.rewrites.merge_depthwise import merged
from hrvit_deploy.model.layers import MapSize, MixCFN, MixedConv
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import DECIDING, Task


@pytest.mark.parametrize("task", DECIDING)
@pytest.mark.parametrize("other", [(), ("merge-depthwise",)])
def test_is_exact(task: Task, other: tuple[str, ...]) -> None:
    form = formed(task, SIZES["both padded"], "convolve-ffn", *other)
    assert form.changes["convolve-ffn"] == BLOCKS
    assert error_of(form, task) < TOLERANCE
    assert not modules_of(form.network, MixCFN)


def test_a_linear_layer_is_a_convolution_at_every_cell() -> None:
    linear = nn.Linear(6, 10)
    features = torch.randn(2, 6, 3, 5)
    with torch.no_grad():
        expected = linear(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        assert distance(convolution(linear)(features), expected) < 1e-6


@pytest.mark.filterwarnings("ignore")
def test_its_graph_transposes_narrow_maps_alone() -> None:
    ffn = MixCFN(8, 4).eval()
    set_random_weights(ffn, 0)
    mixed = ffn.conv
    assert isinstance(mixed, MixedConv)
    ffn.conv = merged(mixed)

    class Bound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ffn = ConvolvedFFN(ffn, MapSize(3, 5))

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.ffn(tokens, MapSize(3, 5))
            return answer

    chain = ["Reshape", "Transpose", "Conv", "Conv", "Gelu", "Conv", "Transpose", "Reshape"]
    assert operators(traced(Bound(), torch.zeros(2, 15, 8))) == chain
