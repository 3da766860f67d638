"""Networks load the first time, and are found again from a sidecar."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.networks import CLASSES, TINY, WHOLE, answer, noise, tiny

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
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import (
    DECIDING,
    ImageSize,
    OutputFormat,
    Precision,
    Task,
    check_output,
)
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


@pytest.mark.parametrize("task", DECIDING)
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


@pytest.mark.parametrize(("tasks", "held"), [(DECIDING, "classify and segment")])
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
    trained = load(NetworkSpec(TINY, checkpoint=path))
    fit = count == CLASSES
    assert trained.described.class_names == (names if fit else ())
    told = f"names {count} classes and tells {CLASSES} apart: names left out"
    assert trained.notes == (() if fit else (told,))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_variant_is_the_checkpoints(tmp_path: Path, variant: str) -> None:
    shapes = model_network.build_on_meta(VARIANTS[variant], Task.SEGMENT, 3).state_dict()
    path = tmp_path / "weights.pth"
    torch.save({name: torch.zeros_like(t, device="cpu") for name, t in shapes.items()}, path)
    trained = load(NetworkSpec(checkpoint=path))
    assert trained.described.variant == VARIANTS[variant]
    assert trained.notes[-1] == f"is HRViT-{variant} by its shapes"


def test_without_a_checkpoint_the_variant_is_b1() -> None:
    assert describe(NetworkSpec(), ImageSize(32, 32)).variant == VARIANTS["b1"]


def test_a_variant_that_nobody_knows_asks_for_its_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(NetworkSpec(checkpoint=saved(tmp_path)))
    assert (
        "is none of HRViT-b1, b2, b3; the nearest is b1, but for stem." in caught.value.message
    )
    assert "--variant FILE.toml" in caught.value.hint


def test_images_of_other_channels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"stem.conv1.weight": torch.zeros(64, 4, 3, 3)}, path)
    with pytest.raises(CheckpointError) as caught:
        load(NetworkSpec(checkpoint=path))
    assert caught.value.message == f"{path} takes images of 4 channels, not 3"


@pytest.mark.parametrize("task", [Task.CLASSIFY, Task.SEGMENT])
def test_one_channel_is_refused_with_what_to_do(tmp_path: Path, task: Task) -> None:
    path = tmp_path / "weights.pth"
    network = model_network.build_network(TINY, task, 1)
    model_network.set_random_weights(network, 3)
    state = network.state_dict()
    torch.save(state, path)
    with pytest.raises(CheckpointError) as caught:
        load(NetworkSpec(TINY, checkpoint=path))
    assert "has a head of one class" in caught.value.message
    # What the hint says makes a network that decides as the threshold does.
    names = re.findall(r"[\w.]*(?:weight|bias)", caught.value.hint)
    assert len(names) == 2
    for name in names:
        state[name] = torch.cat([0 * state[name], state[name]])
    torch.save(state, path)
    image = noise(WHOLE)
    score = answer(network, image)[:, 0]
    decided = answer(load(NetworkSpec(TINY, checkpoint=path)).network, image).argmax(dim=1)
    assert torch.equal(decided == 1, score > 0)
    if task is Task.SEGMENT:
        assert 0 < (score > 0).float().mean() < 1


def test_one_class_is_refused_wherever_it_is_asked_for() -> None:
    with pytest.raises(UsageError, match="would decide for it everywhere"):
        load(NetworkSpec(TINY, num_classes=1))
    with pytest.raises(UsageError, match="would decide for it everywhere"):
        check_output(Task.SEGMENT, OutputFormat.CLASSMAP, 1)


def test_an_entry_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    held = {"model": tiny(Task.SEGMENT, 9).state_dict(), "ema": tiny(Task.SEGMENT).state_dict()}
    torch.save({**held, "epoch": 1}, path)
    for entry, seed in ((None, 0), ("model", 9)):
        manifest = manifest_of(load(NetworkSpec(TINY, checkpoint=path, entry=entry)))
        assert_same(find_again(manifest), tiny(Task.SEGMENT, seed))


def test_what_was_left_out_is_left_out_again(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({**tiny(Task.SEGMENT).state_dict(), "neck.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"unexpected: neck\.weight"):
        load(NetworkSpec(TINY, checkpoint=path))
    manifest = manifest_of(load(NetworkSpec(TINY, checkpoint=path, ignore_unexpected=True)))
    assert_same(find_again(manifest), tiny(Task.SEGMENT))


def test_shards_are_found_again_and_any_that_changed_is_seen(tmp_path: Path) -> None:
    state = tiny(Task.SEGMENT).state_dict()
    names = list(state)
    table = {name: f"part{index % 2}.safetensors" for index, name in enumerate(names)}
    for part in set(table.values()):
        save_file({n: t for n, t in state.items() if table[n] == part}, tmp_path / part)
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    manifest = manifest_of(load(NetworkSpec(TINY, checkpoint=tmp_path)))
    assert_same(find_again(manifest), tiny(Task.SEGMENT))
    assert_same(find_again(manifest, str(index)), tiny(Task.SEGMENT))
    save_file({names[1]: state[names[1]] + 1}, tmp_path / "part1.safetensors")
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        find_again(manifest)
