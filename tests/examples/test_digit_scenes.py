"""The set that the trained network is judged by, its training, and what was committed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.networks import TINY_FILE

from hrvit_deploy.artefact import sha256_of
from hrvit_deploy.datasets import Layout, find_dataset, read_labels
from hrvit_deploy.images import load_image
from hrvit_deploy.options import ImageSize

FOLDER = Path(__file__).parents[2] / "examples" / "digit_scenes"
sys.path.insert(0, str(FOLDER))

import scenes  # noqa: E402
import train  # noqa: E402
from scenes import Split, make_scene  # noqa: E402

COMMITTED = {"b1": 0.85, "tiny": 0.4}


def test_a_scene_follows_from_its_number() -> None:
    first, again, other = (make_scene(i, Split.VALIDATION) for i in (3, 3, 4))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert np.any(first.pixels != other.pixels)
    assert np.any(first.pixels != make_scene(3, Split.VALIDATION, seed=1).pixels)


@pytest.mark.parametrize("split", Split)
def test_scenes_hold_every_class_and_fit_any_size(split: Split) -> None:
    seen = set()
    for number in range(80):
        scene = make_scene(number, split, ImageSize(96, 160))
        assert scene.pixels.shape == (96, 160, 3)
        assert scene.labels.shape == (96, 160)
        share = (scene.labels > 0).mean()
        assert 0.01 < share < 0.7
        seen |= set(np.unique(scene.labels))
    assert seen == set(range(11))


def test_training_and_validation_share_nothing() -> None:
    ours, theirs = (scenes._material(split) for split in Split)
    assert len(ours.digits) + len(theirs.digits) == 1797
    digits = {digit.tobytes() for digit in ours.digits}
    twins = sum(digit.tobytes() in digits for digit in theirs.digits)
    assert twins == 0
    for mine, held_out in zip(ours.photographs, theirs.photographs, strict=True):
        assert mine.shape[1] + held_out.shape[1] == 640
    assert np.bincount(theirs.names).min() > 30


def test_they_are_written_as_ade20k_is(tmp_path: Path) -> None:
    scenes.write_scenes(tmp_path, 3, ImageSize(64, 96))
    found = find_dataset(tmp_path)
    assert found.layout is Layout.ADE20K
    assert len(found.samples) == 3
    assert (tmp_path / "classes.txt").read_text().split() == list(scenes.CLASSES)
    for number, sample in enumerate(found.samples):
        scene = make_scene(number, Split.VALIDATION, ImageSize(64, 96))
        np.testing.assert_array_equal(load_image(sample.image), scene.pixels)
        np.testing.assert_array_equal(read_labels(sample, found.layout), scene.labels)
        assert sample.labels is not None
        assert np.asarray(Image.open(sample.labels)).min() == 1


def schedule(**changes: Any) -> train.Schedule:
    small = {"variant": str(TINY_FILE), "steps": 4, "batch": 2, "last_batch": 1}
    return train.Schedule(**{**small, "crop": "32x32", "size": "64x64", **changes})


def test_no_two_steps_share_a_scene() -> None:
    plan = schedule(steps=6, batch=4, last_batch=2)
    numbers = [number for step in range(6) for number in plan.scenes_of(step)]
    assert len(numbers) == len(set(numbers)) == 3 * 4 + 3 * 2
    assert [str(plan.size_at(step)) for step in (0, 2, 3, 5)] == ["32x32"] * 2 + ["64x64"] * 2


def test_the_rate_rises_then_falls_to_nothing() -> None:
    plan = schedule(steps=100, warm_up=0.1)
    rates = [plan.rate_at(step) for step in range(100)]
    assert np.argmax(rates) in (9, 10)
    assert rates[9] == pytest.approx(1)
    assert rates[-1] < 0.01
    assert np.all(np.diff(rates[10:]) < 0)


def test_a_stopped_training_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    plan, state = schedule(), tmp_path / "state.pt"
    through = train.Training(plan, "cpu")
    train.train(through, state, workers=0)

    part = train.Training(plan, "cpu")
    for step in range(2):
        part.update(*train.Batches(0, plan)[step])
    part.save(state)
    resumed = train.Training(plan, "cpu")
    resumed.resume(state)
    assert resumed.step == 2
    train.train(resumed, state, workers=0)

    expected = through.network.state_dict()
    for name, tensor in resumed.network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name].numpy(), err_msg=name)
    with pytest.raises(SystemExit, match="another schedule"):
        train.Training(schedule(seed=1), "cpu").resume(state)


def test_the_script_writes_weights_and_a_card(tmp_path: Path) -> None:
    path = tmp_path / "made.safetensors"
    words = ["--variant", str(TINY_FILE), "--steps", "2", "--batch", "2", "--last-batch", "1"]
    small = ["--crop", "32x32", "--size", "64x64", "--held-out", "2", "--device", "cpu"]
    subprocess.run(
        [sys.executable, str(FOLDER / "train.py"), str(path), *words, *small], check=True
    )
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(path)
    assert card["schedule"]["steps"] == 2
    assert 0 <= card["miou"] <= 1
    assert {str(array.dtype) for array in load_file(path).values()} == {"float16", "int64"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["made.json", "made.safetensors"]


@pytest.mark.parametrize("variant", COMMITTED)
def test_the_card_is_of_the_weights_beside_it(variant: str) -> None:
    path = FOLDER / f"hrvit_{variant}.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(path)
    assert card["miou"] >= COMMITTED[variant]
    assert card["held_out_scenes"] == 200


@pytest.mark.parametrize(("variant", "count", "slack"), [("b1", 6, 0.1), ("tiny", 40, 0.1)])
def test_the_weights_reach_what_the_card_says(variant: str, count: int, slack: float) -> None:
    from hrvit_deploy import NetworkSpec, SilentProgress, load_network, load_variant
    from hrvit_deploy.options import Task, parse_size

    path = FOLDER / f"hrvit_{variant}.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    known = load_variant(variant if variant == "b1" else str(TINY_FILE))
    trained = load_network(NetworkSpec(known, checkpoint=path), SilentProgress())
    assert trained.described.class_names == scenes.CLASSES
    assert trained.described.task is Task.SEGMENT
    matrix = train.judge(trained.network, count, parse_size(card["schedule"]["size"]))
    assert matrix.miou > card["miou"] - slack
