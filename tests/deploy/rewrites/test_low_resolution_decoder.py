"""The segmentation head's products before its interpolations."""

from __future__ import annotations

import pytest
import torch
from support.networks import CLASSES, SIZES, TINY, distance
from support.rewriting import TOLERANCE, error_of, formed
from torch import nn

from hrvit_deploy.deploy.rewrites.low_resolution_decoder import LowResolutionHead
from hrvit_deploy.model.heads import HRViTSegmenter, SegmenterHead
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import Task


@pytest.mark.parametrize(
    "others", [(), ("fold-batch-norm",), ("static-maps",), ("fold-batch-norm", "static-maps")]
)
@pytest.mark.parametrize("size", ["whole", "both padded"])
def test_is_exact(size: str, others: tuple[str, ...]) -> None:
    form = formed(Task.SEGMENT, SIZES[size], "low-resolution-decoder", *others)
    assert form.changes["low-resolution-decoder"] == 1
    assert error_of(form, Task.SEGMENT) < TOLERANCE


def test_a_classifier_has_no_such_head() -> None:
    form = formed(Task.CLASSIFY, SIZES["whole"], "low-resolution-decoder")
    assert form.changes == {"low-resolution-decoder": 0}


def test_the_norm_stays_where_it_was_not_folded() -> None:
    kept = formed(Task.SEGMENT, SIZES["whole"], "low-resolution-decoder").network
    folded = formed(
        Task.SEGMENT, SIZES["whole"], "low-resolution-decoder", "fold-batch-norm"
    ).network
    assert isinstance(kept, HRViTSegmenter)
    assert isinstance(folded, HRViTSegmenter)
    assert isinstance(kept.decode_head.norm, nn.BatchNorm2d)
    assert isinstance(folded.decode_head.norm, nn.Identity)


def test_each_branch_is_projected_at_its_own_size() -> None:
    head = SegmenterHead(TINY, CLASSES).eval()
    set_random_weights(head, 0)
    low = LowResolutionHead(head)
    widths = [8, 16, 32, 48]
    maps = [torch.randn(2, c, 16 >> i, 24 >> i) for i, c in enumerate(widths)]
    seen: list[torch.Size] = []
    for conv in low.convs:
        conv.register_forward_hook(lambda _, __, output: seen.append(output.shape))
    with torch.no_grad():
        assert distance(low(maps), head(maps)) < 1e-5
    assert seen == [(2, 16, 16, 24), (2, 16, 8, 12), (2, 16, 4, 6), (2, 16, 2, 3)]


def test_a_fusion_with_a_bias_keeps_it() -> None:
    head = SegmenterHead(TINY, CLASSES).eval()
    set_random_weights(head, 0)
    fusion = head.fusion_conv
    fusion.conv.bias = nn.Parameter(torch.linspace(-1, 1, 16))
    maps = [torch.randn(1, c, 8 >> i, 8 >> i) for i, c in enumerate([8, 16, 32, 48])]
    with torch.no_grad():
        assert distance(LowResolutionHead(head)(maps), head(maps)) < 1e-5
