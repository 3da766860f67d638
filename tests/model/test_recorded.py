"""A checkpoint that says how its images were normalised is heard, and never obeyed blindly."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.networks import CLASSES, TINY

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.model.checkpoint import read_checkpoint
from hrvit_deploy.model.network import build_network, set_random_weights
from hrvit_deploy.model.recorded import Recorded, read_recorded
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, ImageSize, Task
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress

OLD = "img_norm_cfg = dict(\n    mean=[{}], std=[{}], to_rgb={})\n"
NEW = "data_preprocessor = dict(bgr_to_rgb={2}, mean=[\n {0},\n], std=[{1}], size=(512, 512))"
IMAGENETS = ("123.675, 116.28, 103.53", "58.395, 57.12, 57.375")
OWN = ("90.5, 91, 92", "40, 41, 42")
NOTHING = Recorded()
IMAGENET = Recorded(IMAGENET_MEAN, IMAGENET_STD)
MINE = Recorded((90.5, 91, 92), (40, 41, 42))


def configuration(text: str, *values: Any) -> dict[str, Any]:
    return {"meta": {"config" if text is OLD else "cfg": text.format(*values)}}


@pytest.mark.parametrize(
    ("loaded", "recorded"),
    [
        (configuration(OLD, *IMAGENETS, True), IMAGENET),
        (configuration(NEW, *IMAGENETS, True), IMAGENET),
        (configuration(NEW, *OWN, True), MINE),
        (configuration(OLD, *OWN, False), Recorded(MINE.mean, MINE.std, blue_first=True)),
        (configuration(OLD, "0, 0, 0", "1, 1, 1", True), Recorded((0, 0, 0), (1, 1, 1))),
        # Two data sets of different normalisation, broken numbers, and other things.
        ({"meta": {"cfg": OLD.format(*OWN, True) + OLD.format(*IMAGENETS, True)}}, NOTHING),
        (configuration(OLD, "1, 2", "3, 4", True), NOTHING),
        (configuration(OLD, "1, 2, 1e999", "3, 4, 5", True), NOTHING),
        (configuration(OLD, "1, 2, 3", "0, 4, 5", True), NOTHING),
        (configuration(OLD, "-, -, -", "3, 4, 5", True), NOTHING),
        ({"meta": {"cfg": 3}}, NOTHING),
        ({"meta": "mean=[1,2,3]"}, NOTHING),
        ({}, NOTHING),
        (None, NOTHING),
    ],
)
def test_what_mmsegmentation_saves_is_read(loaded: Any, recorded: Recorded) -> None:
    assert read_recorded(loaded, Path("b1.pth")) == recorded


def weights() -> dict[str, torch.Tensor]:
    network = build_network(TINY, Task.SEGMENT, CLASSES)
    set_random_weights(network, 0)
    return dict(network.state_dict())


@pytest.mark.parametrize("kind", ["timm", "safetensors"])
def test_what_other_trainers_save_is_read_on_the_scale_of_pixels(
    tmp_path: Path, kind: str
) -> None:
    if kind == "timm":
        path = tmp_path / "timm.pth"
        options = argparse.Namespace(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        torch.save({"args": options, "state_dict": weights()}, path)
    else:
        path = tmp_path / "own.safetensors"
        about = {"mean": "[127.5, 127.5, 127.5]", "std": "[127.5, 127.5, 127.5]"}
        save_file(weights(), path, about)
    assert read_checkpoint(path).recorded == Recorded((127.5,) * 3, (127.5,) * 3)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1, 2]", '["a", "b", "c"]', "null"])
def test_metadata_that_say_nothing_are_passed_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.safetensors"
    save_file({"a": torch.ones(1)}, path, {"mean": text, "std": "[1, 2, 3]"})
    assert read_recorded({}, path) == NOTHING


def told(tmp_path: Path, recorded: dict[str, Any], **given: Any) -> list[str]:
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": weights(), **recorded}, path)
    trained = stages.load(NetworkSpec(TINY, checkpoint=path), SilentProgress())
    return stages.doubts(trained, Preparation(ImageSize(32, 32), **given), [])


def test_an_export_on_another_normalisation_is_warned_of(tmp_path: Path) -> None:
    own = configuration(NEW, *OWN, True)
    (doubt,) = told(tmp_path, own)
    assert doubt.endswith("give --mean 90.5,91,92 --std 40,41,42")
    assert told(tmp_path, own, mean=MINE.mean, std=MINE.std) == []
    assert (
        told(tmp_path, configuration(NEW, "123.68, 116.28, 103.53", IMAGENETS[1], True)) == []
    )


def test_a_network_that_takes_blue_first_is_warned_of(tmp_path: Path) -> None:
    blue = configuration(OLD, "103.53, 116.28, 123.675", "1, 1, 1", False)
    (doubt,) = told(tmp_path, blue, mean=IMAGENET_MEAN, std=(1.0,) * 3)
    assert "blue, green, red" in doubt
    assert doubt.endswith("round, and give --mean 123.675,116.28,103.53 --std 1,1,1")
