"""Map sizes become constants: the same answers, and at that size alone."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, answer, noise
from support.rewriting import TOLERANCE, error_of, formed

from hrvit_deploy.deploy.sites import map_sizes, stages
from hrvit_deploy.model.heads import HRViTSegmenter, SegmenterHead
from hrvit_deploy.options import DECIDING, ImageSize, Task


@pytest.mark.parametrize("size", ["whole", "both padded"])
@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task, size: str) -> None:
    assert error_of(formed(task, SIZES[size], "static-maps"), task) < TOLERANCE


@pytest.mark.parametrize(("task", "places"), [(Task.CLASSIFY, 6), (Task.SEGMENT, 8)])
def test_changes_every_stage_and_both_resizings(task: Task, places: int) -> None:
    size = ImageSize(64, 160)
    form = formed(task, size, "static-maps")
    assert form.changes == {"static-maps": places}
    assert [stage.sizes for stage in stages(form.network)] == [map_sizes(size)] * 6
    if isinstance(form.network, HRViTSegmenter):
        assert isinstance(form.network.decode_head, SegmenterHead)
        assert form.network.decode_head.factors == (1, 2, 4, 8)
        assert form.network.factor == 4


def test_sizes_are_those_of_the_four_maps() -> None:
    assert map_sizes(ImageSize(64, 160)) == ((16, 40), (8, 20), (4, 10), (2, 5))


def test_serves_no_other_size() -> None:
    form = formed(Task.CLASSIFY, ImageSize(64, 96), "static-maps")
    with pytest.raises(RuntimeError, match="shape"):
        answer(form.network, noise(ImageSize(96, 96)))


@pytest.mark.parametrize("batch", [1, 3])
def test_leaves_the_batch_free(batch: int) -> None:
    form = formed(Task.SEGMENT, ImageSize(64, 96), "static-maps", "static-stripes")
    assert answer(form.network, torch.zeros(batch, 3, 64, 96)).shape == (batch, 5, 64, 96)
