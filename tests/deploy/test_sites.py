"""Blocks and stages are found in every kind of network, with the size of their maps."""

from __future__ import annotations

from collections import Counter

import pytest
from support.networks import TINY, tiny
from torch import nn

from hrvit_deploy.deploy.sites import backbone_of, blocks, map_sizes, segmenters, stages
from hrvit_deploy.errors import UsageError
from hrvit_deploy.model.hrvit import HRViT
from hrvit_deploy.model.network import build_on_meta
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import DECIDING, ImageSize, Task


@pytest.mark.parametrize("task", DECIDING)
def test_every_block_comes_with_the_size_of_its_map(task: Task) -> None:
    found = Counter(size for _, size in blocks(tiny(task), ImageSize(64, 160)))
    assert found == {(16, 40): 6, (8, 20): 5, (4, 10): 4, (2, 5): 2}


@pytest.mark.parametrize(("variant", "count"), [("b1", 35), ("b2", 39), ("b3", 41)])
def test_published_variants_have_all_their_blocks(variant: str, count: int) -> None:
    network = build_on_meta(VARIANTS[variant], Task.CLASSIFY, 1)
    assert len(list(blocks(network, ImageSize(224, 224)))) == count
    assert count == sum(map(sum, VARIANTS[variant].blocks))


def test_stages_run_in_order() -> None:
    branches = [len(stage.branches) for stage in stages(tiny(Task.SEGMENT))]
    assert branches == [1, 2, 3, 3, 4, 4]


def test_maps_shrink_by_two() -> None:
    assert map_sizes(ImageSize(64, 160)) == ((16, 40), (8, 20), (4, 10), (2, 5))


def test_only_segmenters_segment() -> None:
    assert len(list(segmenters(tiny(Task.SEGMENT)))) == 1
    assert not list(segmenters(tiny(Task.CLASSIFY)))
    assert not list(segmenters(nn.Linear(2, 2)))


def test_backbones_are_found() -> None:
    backbone = HRViT(TINY)
    assert backbone_of(backbone) is backbone
    assert backbone_of(tiny(Task.CLASSIFY)) is tiny(Task.CLASSIFY)
    assert isinstance(backbone_of(tiny(Task.SEGMENT)), HRViT)
    with pytest.raises(UsageError) as caught:
        backbone_of(nn.Conv2d(1, 1, 1))
    assert caught.value.message == "Conv2d is not an HRViT"
    assert "hrvit_deploy.model" in caught.value.hint
