"""What networks cost, how they are built, and what random weights are good for."""

from __future__ import annotations

import pytest
import torch
from support.networks import CLASSES, TINY, WHOLE, answer, distance, noise, tiny
from torch import nn

from hrvit_deploy.deploy.sites import backbone_of
from hrvit_deploy.errors import UsageError
from hrvit_deploy.model.layers import CrossShapedAttention
from hrvit_deploy.model.network import (
    build_network,
    build_on_meta,
    count_multiply_adds,
    count_parameters,
    set_random_weights,
)
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import DECIDING, ImageSize, Task

# Published parameters; multiply-adds of convolutions and products at 224, in G.
COSTS = {
    "b1": (7_758_008, 19_685_152, 8_183_118, "2.776"),
    "b2": (20_310_944, 32_486_408, 20_809_782, "5.288"),
    "b3": (25_507_960, 37_870_304, 28_724_494, "5.900"),
}


@pytest.mark.parametrize("variant", COSTS)
def test_parameters_are_those_published(variant: str) -> None:
    classifier = build_on_meta(VARIANTS[variant], Task.CLASSIFY, 1000)
    segmenter = build_on_meta(VARIANTS[variant], Task.SEGMENT, 150)
    counted = (
        count_parameters(backbone_of(segmenter)),
        count_parameters(classifier),
        count_parameters(segmenter),
    )
    assert counted == COSTS[variant][:3]


@pytest.mark.parametrize(
    "variant", ["b1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("b2", "b3"))]
)
def test_multiply_adds_are_those_published(variant: str) -> None:
    counted = count_multiply_adds(VARIANTS[variant], Task.CLASSIFY, 1000, ImageSize(224, 224))
    assert f"{counted / 1e9:.3f}" == COSTS[variant][3]


def test_counting_takes_no_memory_for_the_weights() -> None:
    assert all(p.is_meta for p in build_on_meta(TINY, Task.CLASSIFY, 7).parameters())


@pytest.mark.parametrize("task", DECIDING)
def test_classes_and_channels_are_arguments(task: Task) -> None:
    network = build_network(TINY, task, num_classes=3, in_channels=4)
    output = answer(network, torch.zeros(2, 4, *WHOLE))
    assert output.shape == ((2, 3) if task is Task.CLASSIFY else (2, 3, *WHOLE))
    assert not network.training


@pytest.mark.parametrize(("classes", "channels"), [(0, 3), (5, 0), (-1, 3)])
def test_a_network_without_classes_or_channels_is_refused(classes: int, channels: int) -> None:
    with pytest.raises(UsageError) as caught:
        build_network(TINY, Task.CLASSIFY, classes, channels)
    assert caught.value.message == f"{classes} classes from {channels} channels is no network"
    assert caught.value.hint == "give at least one of each"


def test_random_weights_depend_on_the_seed_alone() -> None:
    states = []
    for seed in (3, 3, 4):
        network = build_network(TINY, Task.SEGMENT, CLASSES)
        set_random_weights(network, seed)
        states.append(network.state_dict())
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    changed = [name for name in first if not torch.equal(first[name], other[name])]
    assert set(changed) == {n for n in first if not n.endswith("num_batches_tracked")}


def test_random_weights_have_norms_that_do_something() -> None:
    norms = [
        module
        for module in tiny(Task.CLASSIFY).modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm)
    ]
    for norm in norms:
        assert norm.weight.min() > 0.4
        assert norm.weight.std() > 0.1
        if not isinstance(norm, nn.LayerNorm):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.running_mean.std() > 0.01
            assert norm.running_var.std() > 0.1
    assert len(norms) > 100


@pytest.mark.parametrize("task", DECIDING)
def test_random_weights_answer_with_a_deviation_near_one(task: Task) -> None:
    deviation = float(answer(tiny(task), noise(WHOLE, batch=4)).std())
    assert 0.2 < deviation < 5


def silence_attention(network: nn.Module) -> None:
    """Make every attention return nothing but a constant."""
    for module in network.modules():
        if isinstance(module, CrossShapedAttention):
            nn.init.zeros_(module.attn_bn.weight)


@pytest.mark.parametrize("task", DECIDING)
def test_attention_shows_through_random_weights(task: Task) -> None:
    silenced = build_network(TINY, task, CLASSES)
    set_random_weights(silenced, 0)
    silence_attention(silenced)
    image = noise(WHOLE)
    assert distance(answer(tiny(task), image), answer(silenced, image)) > 0.1


def test_a_fresh_network_hides_its_attention() -> None:
    # Which is why nothing is ever compared on one.
    fresh, broken = (build_network(TINY, Task.CLASSIFY, CLASSES) for _ in range(2))
    broken.load_state_dict(fresh.state_dict())
    for module in broken.modules():
        if isinstance(module, CrossShapedAttention):
            nn.init.ones_(module.to_qkv.weight)
    image = noise(WHOLE)
    assert distance(answer(fresh, image), answer(broken, image)) < 1e-6


@pytest.mark.parametrize("task", DECIDING)
def test_images_of_a_batch_do_not_mix(task: Task) -> None:
    images = noise(WHOLE, batch=3)
    together = answer(tiny(task), images)
    alone = torch.cat([answer(tiny(task), image[None]) for image in images])
    assert distance(together, alone) < 2e-5
