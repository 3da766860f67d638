"""A trained network knows by its first layer whether images are normalised as then."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from support.networks import TINY

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.export.training_statistics import doubt_normalisation
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.model.layers import Stem
from hrvit_deploy.model.network import Network, build_network, set_random_weights
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec, Variant
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, ImageSize, InputFormat, Task
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress

SCENES = Path(__file__).parents[2] / "examples" / "digit_scenes"
TRAINED = {"tiny": TINY, "b1": VARIANTS["b1"]}
NOUGHT = (0.0,) * 3
IMAGENETS = "ImageNet's fit far better: check the training's, or give --mean 123.675"


@cache
def trained(name: str) -> Network:
    variant: Variant = TRAINED[name]
    spec = NetworkSpec(variant, checkpoint=SCENES / f"hrvit_{name}.safetensors")
    return stages.load(spec, SilentProgress()).network


def doubt(network: Network, preparation: Preparation) -> str:
    return doubt_normalisation(network, preparation, ImageSource().batches(preparation, 1))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("side", [96, 256])
@pytest.mark.parametrize("input_format", InputFormat)
def test_photographs_normalised_as_in_training_are_not_doubted(
    name: str, side: int, input_format: InputFormat
) -> None:
    assert doubt(trained(name), Preparation(ImageSize(side, side), input_format)) == ""


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("input_format", InputFormat)
@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (NOUGHT, (1.0,) * 3),
        (NOUGHT, (255.0,) * 3),
        (NOUGHT, IMAGENET_STD),
        ((127.5,) * 3, (127.5,) * 3),
        (IMAGENET_MEAN, (1.0,) * 3),
        (IMAGENET_STD, IMAGENET_MEAN),
    ],
)
def test_another_normalisation_is_doubted_and_the_trainings_named(
    name: str, input_format: InputFormat, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    preparation = Preparation(ImageSize(96, 96), input_format, mean=mean, std=std)
    assert IMAGENETS in doubt(trained(name), preparation)


def test_what_no_usual_normalisation_explains_is_doubted_without_one() -> None:
    network = build_network(TINY, Task.SEGMENT, 5)
    set_random_weights(network, 0)
    network.get_buffer("backbone.stem.bn1.running_mean").fill_(1000.0)
    assert doubt(network, Preparation(ImageSize(96, 96))).endswith(
        "check the training's --mean and --std"
    )


@pytest.mark.parametrize("task", Task)
def test_the_first_layer_is_looked_at_whatever_the_task(task: Task) -> None:
    network = build_network(TINY, task, 5)
    set_random_weights(network, 0)
    (stem,) = (module for module in network.modules() if isinstance(module, Stem))
    mean = stem.bn1.running_mean
    assert mean is not None
    mean.fill_(1000.0)
    assert doubt(network, Preparation(ImageSize(96, 96)))


def test_a_network_that_was_never_trained_remembers_nothing() -> None:
    network = build_network(TINY, Task.SEGMENT, 5)
    network.get_buffer("backbone.stem.bn1.running_mean").zero_()
    assert doubt(network, Preparation(ImageSize(96, 96), mean=NOUGHT, std=(255.0,) * 3)) == ""
