"""Checkpoints as people have them load; what does not fit says how to make it fit."""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.networks import CLASSES, TINY, WHOLE, answer, distance, noise, tiny
from torch import Tensor

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint import (
    classes_in,
    compare_shapes,
    load_network,
    read_checkpoint,
)
from hrvit_deploy.model.network import build_network
from hrvit_deploy.model.variants import VARIANTS, Variant
from hrvit_deploy.model.weight_names import bare_name
from hrvit_deploy.options import DECIDING, Task

State = dict[str, Tensor]


def state_of(task: Task = Task.CLASSIFY) -> State:
    return dict(tiny(task).state_dict())


def save(folder: Path, held: Any, name: str = "weights.pth") -> Path:
    path = folder / name
    torch.save(held, path)
    return path


def refusal(path: Path, task: Task = Task.CLASSIFY, **options: Any) -> CheckpointError:
    """Why a file cannot be read, or does not fit the tiny variant."""
    with pytest.raises(CheckpointError) as caught:
        load_network(read_checkpoint(path), TINY, task, **options)
    assert caught.value.hint
    assert len(caught.value.message.splitlines()) == 1
    return caught.value


def few(task: Task = Task.CLASSIFY) -> State:
    """A handful of weights, enough to see where they go."""
    parts = ("stem.", "head.classifier.", "decode_head.conv_seg.")
    return {
        n: t for n, t in state_of(task).items() if n.removeprefix("backbone.").startswith(parts)
    }


def assert_reads(path: Path, task: Task = Task.CLASSIFY) -> None:
    """The file holds those few under their bare names, and nothing else."""
    tensors = read_checkpoint(path).tensors
    expected = {bare_name(name): tensor for name, tensor in few(task).items()}
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    assert "stem.conv1.weight" in expected
    assert len(expected) == 16


@pytest.mark.parametrize("task", DECIDING)
def test_a_loaded_network_answers_as_the_saved_one(tmp_path: Path, task: Task) -> None:
    loaded = load_network(read_checkpoint(save(tmp_path, state_of(task))), TINY, task)
    image = noise(WHOLE)
    assert distance(answer(loaded, image), answer(tiny(task), image)) < 1e-5


@pytest.mark.parametrize("task", DECIDING)
@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.bin"])
def test_torch_files_load(tmp_path: Path, name: str, task: Task) -> None:
    assert_reads(save(tmp_path, few(task), name), task)


def test_the_legacy_format_loads(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(few(), path, _use_new_zipfile_serialization=False)
    assert_reads(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "WEIGHTS.SAFETENSORS"])
def test_safetensors_load(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_file(few(Task.SEGMENT), path)
    assert_reads(path, Task.SEGMENT)


@pytest.mark.parametrize("key", ["", "state_dict", "model", "state_dict_ema", "model_ema"])
def test_weights_are_found_under_the_usual_keys(tmp_path: Path, key: str) -> None:
    held: dict[str, Any] = {key: few(), "epoch": 7} if key else few()
    path = save(tmp_path, held)
    assert read_checkpoint(path).key == key
    assert_reads(path)


def test_averaged_weights_go_first(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in few().items()}
    path = save(tmp_path, {"state_dict": other, "state_dict_ema": few()})
    assert read_checkpoint(path).key == "state_dict_ema"
    assert_reads(path)


@pytest.mark.parametrize("empty", [None, {}, {"step": 3}])
def test_averages_that_were_never_made_are_passed_over(tmp_path: Path, empty: Any) -> None:
    path = save(tmp_path, {"state_dict_ema": empty, "state_dict": few()})
    assert read_checkpoint(path).key == "state_dict"
    assert_reads(path)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."]
)
@pytest.mark.parametrize("task", DECIDING)
def test_prefixes_of_trainers_come_off(tmp_path: Path, prefix: str, task: Task) -> None:
    state = {prefix + name: tensor for name, tensor in few(task).items()}
    assert_reads(save(tmp_path, {"state_dict": state}), task)


def mmsegmentation() -> dict[str, Any]:
    """A checkpoint laid out as mmsegmentation does, with its training head."""
    state = OrderedDict(few(Task.SEGMENT))
    state["auxiliary_head.conv_seg.weight"] = torch.zeros(CLASSES, 8, 1, 1)
    state["auxiliary_head.convs.0.bn.num_batches_tracked"] = torch.tensor(3)
    meta = {"mmseg_version": "0.11.0", "CLASSES": ["road", "sky"], "epoch": 1}
    return {"meta": meta, "state_dict": state, "optimizer": {"state": {}}}


def test_mmsegmentation_checkpoints_load(tmp_path: Path) -> None:
    held = mmsegmentation()
    assert any(name.startswith("backbone.stem.") for name in held["state_dict"])
    assert any(name.startswith("decode_head.") for name in held["state_dict"])
    path = save(tmp_path, held)
    assert_reads(path, Task.SEGMENT)
    assert not any("auxiliary" in name for name in read_checkpoint(path).tensors)


def test_a_backbone_without_its_prefix_loads_into_a_segmenter(tmp_path: Path) -> None:
    state = {n.removeprefix("backbone."): t for n, t in few(Task.SEGMENT).items()}
    assert_reads(save(tmp_path, state), Task.SEGMENT)


def test_timm_options_beside_the_weights_are_allowed(tmp_path: Path) -> None:
    options = argparse.Namespace(lr=1e-3, opt="adamw", mean=(0.5, 0.5), model="hrvit")
    assert_reads(save(tmp_path, {"state_dict": few(), "args": options, "epoch": 3}))


def test_optimizer_states_beside_the_weights_are_allowed(tmp_path: Path) -> None:
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(8, 3, 3, 3)}}
    optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "params": [0]}]}
    assert_reads(save(tmp_path, {"optimizer": optimizer, "model": few()}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in few().items()}
    tensors = read_checkpoint(save(tmp_path, state)).tensors
    for name, tensor in few().items():
        expected = torch.float32 if tensor.is_floating_point() else torch.int64
        assert tensors[name].dtype == expected
        assert torch.equal(tensors[name], state[name].to(expected))


def test_parameters_that_require_gradients_load(tmp_path: Path) -> None:
    state = {n: torch.nn.Parameter(t) if t.is_floating_point() else t for n, t in few().items()}
    assert_reads(save(tmp_path, state))


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    state = {n: t for n, t in state_of().items() if not n.endswith("num_batches_tracked")}
    loaded = load_network(read_checkpoint(save(tmp_path, state)), TINY, Task.CLASSIFY)
    assert loaded.state_dict()["stem.bn1.num_batches_tracked"] == 0


@pytest.mark.parametrize(("task", "classes"), [(Task.CLASSIFY, 7), (Task.SEGMENT, 19)])
def test_the_number_of_classes_is_read(tmp_path: Path, task: Task, classes: int) -> None:
    path = save(tmp_path, build_network(TINY, task, classes).state_dict())
    checkpoint = read_checkpoint(path)
    assert checkpoint.tasks == (task,)
    assert classes_in(checkpoint, task) == classes
    output = answer(load_network(checkpoint, TINY, task), noise(WHOLE))
    assert output.shape[1] == classes


def test_other_input_channels_load(tmp_path: Path) -> None:
    path = save(tmp_path, build_network(TINY, Task.CLASSIFY, 2, in_channels=4).state_dict())
    network = load_network(read_checkpoint(path), TINY, Task.CLASSIFY, in_channels=4)
    assert answer(network, torch.zeros(1, 4, *WHOLE)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("backbone.stem.conv1.weight", "stem.conv1.weight"),
        ("head.classifier.bias", "head.classifier.bias"),
        ("decode_head.conv_seg.weight", "decode_head.conv_seg.weight"),
        ("modules.x", "modules.x"),
    ],
)
def test_bare_names(name: str, bare: str) -> None:
    assert bare_name(name) == bare


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    state = state_of()
    missing = [name for name in state if name.startswith("features.9.")]
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    for name in missing:
        del state[name]
    state["extra.one"] = torch.zeros(1)
    state["stem.conv2.weight"] = torch.zeros(4, 4)
    error = refusal(save(tmp_path, state))
    assert error.message == (
        f"{tmp_path / 'weights.pth'} does not fit HRViT-tiny to classify 5 classes:"
        f" missing: {', '.join(missing[:3])} and {len(missing) - 3} more;"
        " unexpected: extra.one;"
        " misshapen: stem.conv2.weight (4x4, not 16x8x3x3)"
    )
    assert error.hint.startswith("check --variant, --task and --num-classes")


def test_exactly_three_names_are_listed_without_a_rest() -> None:
    extra = {f"extra.{index}": torch.zeros(1) for index in range(3)}
    assert compare_shapes({}, extra) == "unexpected: extra.0, extra.1, extra.2"
    assert compare_shapes(dict.fromkeys(extra, (1,)), extra) == ""


def test_the_wrong_task_suggests_the_right_one(tmp_path: Path) -> None:
    path = save(tmp_path, state_of(Task.SEGMENT))
    error = refusal(path)
    assert "holds no head to classify with (head.classifier.weight is missing)" in error.message
    assert error.hint == "add --task segment"


def test_the_wrong_task_with_classes_suggests_the_right_one(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, state_of(Task.SEGMENT)), num_classes=CLASSES)
    assert "missing: head." in error.message
    assert "unexpected: decode_head." in error.message
    assert error.hint == f"it is HRViT-tiny to segment {CLASSES} classes: --task segment"


def test_the_wrong_number_of_classes_suggests_the_right_one(tmp_path: Path) -> None:
    error = refusal(save(tmp_path, state_of()), num_classes=7)
    assert "misshapen: head.classifier.weight (5x32, not 7x32)" in error.message
    assert error.hint == "it is HRViT-tiny to classify 5 classes: --num-classes 5"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of b1 to segment Cityscapes."""
    network = build_network(VARIANTS["b1"], Task.SEGMENT, 19)
    return save(tmp_path_factory.mktemp("published"), network.state_dict())


@pytest.mark.parametrize("asked", [TINY, VARIANTS["b3"]], ids=lambda v: v.name)
def test_the_wrong_variant_suggests_the_right_one(published: Path, asked: Variant) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_network(read_checkpoint(published), asked, Task.SEGMENT)
    assert f"does not fit HRViT-{asked.name} to segment 19 classes" in caught.value.message
    assert caught.value.hint == "it is HRViT-b1: --variant b1 --task segment"


def test_a_backbone_alone_is_asked_for_its_head(tmp_path: Path) -> None:
    state = {n: t for n, t in state_of().items() if not n.startswith("head.")}
    error = refusal(save(tmp_path, state))
    assert "holds no head to classify with" in error.message
    assert error.hint == "give a checkpoint with its head, or --task features"


def test_a_network_saved_twice_is_refused(tmp_path: Path) -> None:
    state = state_of()
    twice = state | {f"module.{name}": tensor for name, tensor in state.items()}
    message = refusal(save(tmp_path, twice)).message
    assert message.endswith("twice, under different prefixes")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    state = state_of()
    state["head.classifier.bias"] = torch.tensor([0, 0, value, 0, 0])
    error = refusal(save(tmp_path, state))
    assert error.message.endswith("holds NaN or infinity in head.classifier.bias")
    assert "earlier checkpoint" in error.hint


Change = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to(torch.int8),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    ],
    ids=["int8", "complex", "sparse", "meta", "quantized"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_weights_that_are_no_plain_floats_are_refused(tmp_path: Path, change: Change) -> None:
    state = state_of()
    state["head.classifier.weight"] = change(state["head.classifier.weight"])
    message = refusal(save(tmp_path, state)).message
    assert message.endswith("holds no plain float numbers in head.classifier.weight")


def test_a_head_of_a_single_number_is_refused(tmp_path: Path) -> None:
    state = state_of() | {"head.classifier.weight": torch.tensor(1.0)}
    message = refusal(save(tmp_path, state)).message
    assert message.endswith("holds a single number as head.classifier.weight")


@pytest.mark.parametrize(
    "held", [{}, {"epoch": 3}, 7, [torch.zeros(2)], torch.zeros(2), {"state_dict": {"a": 1}}]
)
def test_a_file_without_weights_is_refused(tmp_path: Path, held: Any) -> None:
    error = refusal(save(tmp_path, held))
    assert error.message == f"{tmp_path / 'weights.pth'} holds no weights"
    assert "'state_dict'" in error.hint


NAMES = ["wall", "sky ", "tree"]
READ = ("wall", "sky", "tree")


@pytest.mark.parametrize(
    "meta",
    [
        {"CLASSES": tuple(NAMES), "PALETTE": [[1, 2, 3]]},
        {"dataset_meta": {"classes": NAMES, "palette": None}},
        {"CLASSES": None, "dataset_meta": {"CLASSES": NAMES}},
    ],
)
def test_mmsegmentation_names_the_classes(tmp_path: Path, meta: dict[str, Any]) -> None:
    path = save(tmp_path, {"meta": meta, "state_dict": few()})
    assert read_checkpoint(path).class_names == READ
    assert_reads(path)


def test_safetensors_name_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(few(), path, {"classes": json.dumps(NAMES), "task": "segment"})
    assert read_checkpoint(path).class_names == READ


@pytest.mark.parametrize(
    "classes", ["no JSON", "[1, 2]", '"wall"', "null", '{"wall": 0}', "[" * 100_000]
)
def test_strange_names_are_in_nobodys_way(tmp_path: Path, classes: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(few(), path, {"classes": classes})
    assert read_checkpoint(path).class_names == ()


@pytest.mark.parametrize(
    "meta", [{}, {"CLASSES": None}, {"CLASSES": [1]}, {"CLASSES": torch.ones(3)}, "meta", None]
)
def test_strange_names_in_pickles_neither(tmp_path: Path, meta: Any) -> None:
    path = save(tmp_path, {"meta": meta, "state_dict": few()})
    assert read_checkpoint(path).class_names == ()
