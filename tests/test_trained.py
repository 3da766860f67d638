"""Networks load the first time, and are found again from a sidecar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.networks import CLASSES, TINY, WHOLE, tiny

from hrvit_deploy.artefact import (
    Kind,
    Manifest,
    Network,
    Preparation,
    Source,
    Weights,
    sha256_of,
)
from hrvit_deploy.errors import CheckpointError, UsageError
from hrvit_deploy.model import network as model_network
from hrvit_deploy.model.heads import HRViTSegmenter
from hrvit_deploy.model.network import count_parameters
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import ImageSize, OutputFormat, Precision, Task
from hrvit_deploy.trained import CHECKPOINT, Trained, checkpoint_of, describe, find_again, load


def saved(folder: Path, task: Task = Task.SEGMENT, name: str = "weights.pth") -> Path:
    path = folder / name
    torch.save({"state_dict": tiny(task).state_dict()}, path)
    return path


def manifest_of(trained: Trained) -> Manifest:
    return Manifest(
        kind=Kind.ONNX,
        sha256="",
        network=trained.described,
        precision=Precision.FP32,
        output_format=OutputFormat.LOGITS,
        inputs=(),
        outputs=(),
        preparation=Preparation(WHOLE),
        versions={},
        options={},
        sources=(Source("onnx", "between.onnx", "12"), *trained.sources),
    )


def assert_same(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    first, second = ours.state_dict(), theirs.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("task", Task)
def test_a_checkpoint_says_its_task_and_classes(tmp_path: Path, task: Task) -> None:
    path = saved(tmp_path, task)
    trained = load(NetworkSpec(TINY, checkpoint=path))
    assert trained.described == Network(
        TINY, task, CLASSES, Weights.CHECKPOINT, weights_key="state_dict"
    )
    assert trained.sources == (Source(CHECKPOINT, str(path), sha256_of(path)),)
    assert_same(trained.network, tiny(task))
    assert not trained.network.training


@pytest.mark.parametrize(("task", "classes"), [(Task.CLASSIFY, 1000), (Task.SEGMENT, 150)])
def test_without_one_the_weights_are_random(task: Task, classes: int) -> None:
    trained = load(NetworkSpec(TINY, task))
    assert trained.described.weights is Weights.RANDOM
    assert trained.described.num_classes == classes
    assert trained.sources == ()
    assert not any(parameter.is_meta for parameter in trained.network.parameters())
    assert not any(module.training for module in trained.network.modules())


def test_without_anything_it_classifies() -> None:
    assert load(NetworkSpec(TINY, num_classes=2)).described.task is Task.CLASSIFY


def test_random_weights_follow_the_seed() -> None:
    assert_same(
        load(NetworkSpec(TINY, Task.SEGMENT, None, CLASSES)).network, tiny(Task.SEGMENT)
    )
    seeded = load(NetworkSpec(TINY, Task.SEGMENT, None, CLASSES, seed=3))
    assert_same(seeded.network, tiny(Task.SEGMENT, 3))
    assert seeded.described.seed == 3


def test_zero_classes_are_refused_and_not_taken_for_the_default() -> None:
    with pytest.raises(UsageError) as caught:
        load(NetworkSpec(TINY, num_classes=0))
    assert "0 classes" in caught.value.message


def test_the_wrong_classes_name_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(NetworkSpec(TINY, checkpoint=saved(tmp_path), num_classes=7))
    assert "to segment 7 classes" in caught.value.message
    assert caught.value.hint.endswith("--num-classes 5")


@pytest.mark.parametrize(("tasks", "held"), [((), "no"), (tuple(Task), "classify and segment")])
def test_a_checkpoint_of_no_clear_task_asks_for_one(
    tmp_path: Path, tasks: tuple[Task, ...], held: str
) -> None:
    state = {"stem.conv1.weight": torch.zeros(8, 3, 3, 3)}
    keys = {
        Task.CLASSIFY: "head.classifier.weight",
        Task.SEGMENT: "decode_head.conv_seg.weight",
    }
    state |= {keys[task]: torch.zeros(5, 32) for task in tasks}
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError) as caught:
        load(NetworkSpec(TINY, checkpoint=path))
    assert caught.value.message == f"{path} holds {held} head"
    assert caught.value.hint == "say which network it is with --task"


def test_costs_are_those_at_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[Any, ...]] = []

    def seven(*asked: Any) -> int:
        counted.append(asked[:4])
        return 7

    monkeypatch.setattr(model_network, "count_multiply_adds", seven)
    trained = load(NetworkSpec(TINY, Task.SEGMENT, num_classes=CLASSES))
    assert trained.described.multiply_adds == 0
    costs = trained.at(ImageSize(32, 64)).described
    assert costs.parameters == count_parameters(trained.network)
    assert costs.multiply_adds == 7
    request = NetworkSpec(TINY, Task.SEGMENT, num_classes=CLASSES)
    assert describe(request, ImageSize(32, 64)) == costs
    assert counted == [(TINY, Task.SEGMENT, CLASSES, ImageSize(32, 64))] * 2


def test_random_weights_are_made_again() -> None:
    trained = load(NetworkSpec(TINY, Task.SEGMENT, num_classes=CLASSES, seed=4))
    again = find_again(manifest_of(trained))
    assert isinstance(again, HRViTSegmenter)
    assert_same(again, trained.network)


def test_checkpoints_are_found_where_they_lay(tmp_path: Path) -> None:
    manifest = manifest_of(load(NetworkSpec(TINY, checkpoint=saved(tmp_path))))
    assert checkpoint_of(manifest).path == str(tmp_path / "weights.pth")
    assert_same(find_again(manifest), tiny(Task.SEGMENT))


def test_checkpoints_are_found_where_they_lie_now(tmp_path: Path) -> None:
    manifest = manifest_of(load(NetworkSpec(TINY, checkpoint=saved(tmp_path))))
    moved = (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    with pytest.raises(CheckpointError) as caught:
        find_again(manifest)
    assert str(tmp_path / "weights.pth") in caught.value.message
    assert caught.value.hint == "say where it is now with --checkpoint"
    assert_same(find_again(manifest, str(moved)), tiny(Task.SEGMENT))


@pytest.mark.parametrize("given", [True, False])
def test_other_weights_are_refused(tmp_path: Path, given: bool) -> None:
    path = saved(tmp_path)
    manifest = manifest_of(load(NetworkSpec(TINY, checkpoint=path)))
    other = tmp_path / "other.pth" if given else path
    torch.save({"state_dict": tiny(Task.SEGMENT, 9).state_dict()}, other)
    with pytest.raises(CheckpointError) as caught:
        find_again(manifest, str(other) if given else "")
    assert caught.value.message == (
        f"{other} is not the checkpoint this artefact came from (SHA-256 differs)"
    )


def test_a_sidecar_without_its_checkpoint_is_refused() -> None:
    described: dict[str, Any] = {"weights": Weights.CHECKPOINT}
    trained = load(NetworkSpec(TINY, num_classes=2))
    manifest = manifest_of(trained)
    broken = replace(manifest, network=replace(manifest.network, **described))
    with pytest.raises(CheckpointError) as caught:
        find_again(broken)
    assert caught.value.message == "the sidecar names no checkpoint to compare with"


@pytest.mark.parametrize("count", [CLASSES, CLASSES - 1])
def test_class_names_are_kept_where_there_is_one_a_class(tmp_path: Path, count: int) -> None:
    path = tmp_path / "weights.pth"
    names = tuple(f"class {index}" for index in range(count))
    state = tiny(Task.SEGMENT).state_dict()
    torch.save({"state_dict": state, "meta": {"CLASSES": names}}, path)
    described = load(NetworkSpec(TINY, checkpoint=path)).described
    assert described.class_names == (names if count == CLASSES else ())
