"""BatchNorm folds into every layer before it, and none is left."""

from __future__ import annotations

import pytest
import torch
from support.networks import SIZES, answer, distance
from support.rewriting import TOLERANCE, error_of, formed, modules_of
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hrvit_deploy.deploy.rewrites.fold_batch_norm import apply, fold
from hrvit_deploy.model.network import set_random_weights
from hrvit_deploy.options import DECIDING, ImageSize, Task

SIZE = SIZES["both padded"]
# Every BatchNorm of the tiny variant.
PLACES = {Task.CLASSIFY: 90, Task.SEGMENT: 71}


@pytest.mark.parametrize("task", DECIDING)
def test_is_exact(task: Task) -> None:
    assert error_of(formed(task, SIZE, "fold-batch-norm"), task) < TOLERANCE


@pytest.mark.parametrize("task", DECIDING)
def test_leaves_no_norm(task: Task) -> None:
    form = formed(task, SIZE, "fold-batch-norm")
    before = formed(task, SIZE)
    assert len(modules_of(before.network, _BatchNorm)) == PLACES[task]
    assert form.changes == {"fold-batch-norm": PLACES[task]}
    assert not modules_of(form.network, _BatchNorm)


@pytest.mark.parametrize("task", DECIDING)
def test_folds_into_what_other_rewrites_leave(task: Task) -> None:
    other = ("fold-scale", "static-maps", "static-stripes", "dense-shortcut")
    form = formed(task, SIZE, "fold-batch-norm", "low-resolution-decoder", *other)
    assert not modules_of(form.network, _BatchNorm)
    assert error_of(form, task) < TOLERANCE


def test_norms_matter() -> None:
    # Or a fold that forgot them would pass.
    form = formed(Task.CLASSIFY, SIZE)
    for norm in modules_of(form.network, _BatchNorm):
        assert isinstance(norm, _BatchNorm)
        nn.init.zeros_(norm.bias)
    changed = answer(form.network, torch.zeros(1, 3, *SIZE))
    trained = answer(formed(Task.CLASSIFY, SIZE).network, torch.zeros(1, 3, *SIZE))
    assert distance(changed, trained) > 0.01


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["dense", "depthwise", "linear"])
def test_each_kind_of_layer_takes_its_norm(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    layer: nn.Conv2d | nn.Linear
    norm: nn.BatchNorm1d | nn.BatchNorm2d
    if kind == "linear":
        layer, norm, image = nn.Linear(6, 8, bias), nn.BatchNorm1d(8), torch.randn(5, 6)
    else:
        groups = 1 if kind == "dense" else 6
        layer = nn.Conv2d(6, 12, 3, groups=groups, bias=bias)
        norm, image = nn.BatchNorm2d(12), torch.randn(2, 6, 7, 7)
    pair = nn.Sequential(layer, norm).eval()
    set_random_weights(pair, 0)
    expected = answer(pair, image)
    fold(layer, norm)
    assert layer.weight.dtype == torch.float32
    assert distance(answer(layer, image), expected) < 1e-5
    assert distance(expected, torch.zeros_like(expected)) > 0.5


def test_tiny_variances_fold_without_overflow() -> None:
    layer, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1).eval()
    nn.init.zeros_(norm.running_var)  # type: ignore[arg-type]
    expected = answer(nn.Sequential(layer, norm), torch.ones(1, 1, 1, 1))
    fold(layer, norm)
    assert distance(answer(layer, torch.ones(1, 1, 1, 1)), expected) < 1e-3


def test_a_norm_that_follows_no_layer_stays() -> None:
    alone = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))
    assert apply(alone, ImageSize(32, 32)) == 0
    assert len(modules_of(alone, _BatchNorm)) == 2
