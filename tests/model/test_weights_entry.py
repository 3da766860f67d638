"""The weights are found wherever a trainer put them, and what was left out is said."""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.networks import CLASSES, TINY, tiny
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint import Checkpoint, load_network, read_checkpoint
from hrvit_deploy.model.weight_names import bare_name
from hrvit_deploy.options import Task

PARTS = ("stem.", "features.1.", "head.", "decode_head.")


def state_of(task: Task = Task.SEGMENT, shift: float = 0.0) -> dict[str, Tensor]:
    """Some of the weights, enough to see where they go."""
    return {
        name: tensor + shift if tensor.is_floating_point() else tensor
        for name, tensor in tiny(task).state_dict().items()
        if bare_name(name).startswith(PARTS)
    }


def read(folder: Path, held: Any, entry: str | None = None) -> Checkpoint:
    torch.save(held, folder / "weights.pth")
    return read_checkpoint(folder / "weights.pth", entry)


def assert_reads(found: Checkpoint, state: dict[str, Tensor] | None = None) -> None:
    expected = {bare_name(name): tensor for name, tensor in (state or state_of()).items()}
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.items())


def refusal(folder: Path, held: Any, entry: str | None = None) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read(folder, held, entry)
    assert len((caught.value.message + caught.value.hint).splitlines()) == 1
    return caught.value


@pytest.mark.parametrize(
    "key",
    ["model_state_dict", "net", "params_ema", "ema_state_dict", "weights", "Anything else"],
)
@pytest.mark.parametrize(
    "beside",
    [
        {"epoch": 9, "loss": 0.1},
        {"epoch": torch.tensor(9), "rng": torch.zeros(5, dtype=torch.uint8)},
        {
            "optimizer_state_dict": {
                "state": {0: {"exp_avg": torch.zeros(3)}},
                "param_groups": [],
            }
        },
        {"optimizer": {"state": {"stem.conv1.weight": torch.zeros(3)}}},
        {"scheduler": {"base": torch.zeros(1)}, "history": [torch.zeros(1)]},
        {"args": defaultdict(list), "losses": OrderedDict(a=torch.zeros(1))},
    ],
)
def test_one_mapping_of_tensors_is_found(tmp_path: Path, key: str, beside: Any) -> None:
    found = read(tmp_path, {**beside, key: state_of()})
    assert found.key == key
    assert found.others == ()
    assert_reads(found)


def test_deeper_entries_are_found(tmp_path: Path) -> None:
    found = read(tmp_path, {"run": {"best": {"weights": state_of()}}, "epoch": 3})
    assert found.key == "run/best/weights"
    assert_reads(found)


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [
        ("params", "params_ema"),
        ("model", "model_ema"),
        ("state_dict", "ema"),
        ("net", "swa_net"),
    ],
)
def test_an_average_goes_first_and_the_other_has_an_option(
    tmp_path: Path, plain: str, averaged: str
) -> None:
    held = {plain: state_of(), averaged: state_of(shift=1)}
    found = read(tmp_path, held)
    assert found.key == averaged
    assert found.others == (plain,)
    assert f"--checkpoint-entry takes others: {plain}" in found.notes[0]
    assert_reads(found, state_of(shift=1))
    assert_reads(read(tmp_path, held, plain))


def test_mmengine_keeps_the_average_under_the_plain_name(tmp_path: Path) -> None:
    # Its EMAHook swaps the two when it saves.
    last = {f"module.{name}": tensor for name, tensor in state_of(shift=1).items()}
    held = {"state_dict": state_of(), "ema_state_dict": {"steps": torch.tensor(7), **last}}
    found = read(tmp_path, {**held, "message_hub": {}})
    assert found.key == "state_dict"
    assert_reads(found)
    assert read(tmp_path, held).key == "ema_state_dict"
    assert_reads(
        read(tmp_path, {**held, "message_hub": {}}, "ema_state_dict"), state_of(shift=1)
    )


def test_networks_none_of_which_is_the_likeliest_are_listed(tmp_path: Path) -> None:
    held = {"teacher": state_of(), "student": state_of(shift=1)}
    error = refusal(tmp_path, held)
    assert error.message.endswith("holds 2 networks: teacher, student")
    assert error.hint == "say which with --checkpoint-entry NAME"
    assert_reads(read(tmp_path, held, "student"), state_of(shift=1))


def test_networks_in_one_state_dict_are_entries(tmp_path: Path) -> None:
    held = {f"student.{name}": tensor for name, tensor in state_of(shift=1).items()}
    held |= {f"teacher.{name}": tensor for name, tensor in state_of().items()}
    error = refusal(tmp_path, {"state_dict": held})
    assert error.message.endswith("holds 2 networks: state_dict/student, state_dict/teacher")
    assert_reads(read(tmp_path, {"state_dict": held}, "state_dict/teacher"))


def test_an_entry_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"state_dict": state_of()}, "ema")
    assert error.message.endswith("holds no weights under 'ema'")
    assert error.hint == "it has state_dict"


def test_another_network_is_told_by_what_there_is(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"model": {"conv1.weight": torch.zeros(1)}, "epoch": 3})
    assert "holds no HRViT: no entry has stem.conv1.weight" in error.message
    assert "model (1 tensors, as conv1.weight)" in error.message
    error = refusal(tmp_path, {"a\x1b[31m\nb": {"c\x1b\n": torch.zeros(1)}})
    assert "\x1b" not in error.message


def test_the_parts_of_a_network_are_joined(tmp_path: Path) -> None:
    state = state_of()
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "decode_head": {}}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    assert_reads(read(tmp_path, {**parts, "epoch": 1}), state)


@pytest.mark.parametrize(
    ("wrap", "stripped"),
    [
        (lambda name: f"student.{name}", "student."),
        (lambda name: f"net.model.{name}", "net.model."),
        (lambda name: f"_forward_module.model.{name}", "_forward_module."),
        (
            lambda name: name.replace("features.", "features._checkpoint_wrapped_module."),
            "_check",
        ),
        (lambda name: name.replace("features.1.", "features.1._fsdp_wrapped_module."), "_fsdp"),
        (lambda name: f"_fsdp_wrapped_module.{name}".replace("0.", "0._orig_mod."), "_fsdp"),
    ],
)
@pytest.mark.parametrize("task", [Task.SEGMENT, Task.CLASSIFY])
def test_prefixes_and_wrappers_come_off_and_are_named(
    tmp_path: Path, wrap: Any, stripped: str, task: Task
) -> None:
    found = read(tmp_path, {wrap(name): t for name, t in state_of(task).items()})
    assert_reads(found, state_of(task))
    (note,) = found.notes
    assert stripped in note
    assert note.endswith("off the names of weights")


BOOKKEEPING = {
    "n_averaged": torch.tensor(3),
    "ema_backbone_stem_conv1_weight": torch.zeros(16, 3, 3, 3),
    "criterion.weight": torch.ones(5),
    "loss_fn.class_weights": torch.ones(5),
    "total_ops": torch.zeros(1),
    "backbone.stem.total_params": torch.zeros(1),
    "num_batches_seen": torch.tensor(3),
    "data_preprocessor.mean": torch.ones(3, 1, 1),
    "auxiliary_head.conv_seg.weight": torch.zeros(5, 8, 1, 1),
    "auxiliary_head.0.convs.0.bn.running_var": torch.zeros(5),
    "val_metrics.confmat": torch.zeros(5, 5),
}


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_bookkeeping_is_left_out_and_said(tmp_path: Path, prefix: str) -> None:
    held = {f"{prefix}{name}": t for name, t in (state_of() | BOOKKEEPING).items()}
    found = read(tmp_path, {"state_dict": held})
    assert_reads(found)
    assert (
        f"leaves out {len(BOOKKEEPING)} entries that inference has no use for"
        in found.notes[-1]
    )


def test_what_a_trainer_holds_beside_the_network_is_left_out(tmp_path: Path) -> None:
    held = {f"model.{name}": tensor for name, tensor in state_of(Task.CLASSIFY).items()}
    found = read(tmp_path, {"state_dict": held | {"projector.weight": torch.zeros(2)}})
    assert_reads(found, state_of(Task.CLASSIFY))
    assert "projector.weight" in found.notes[-1]


@pytest.mark.parametrize("extra", ["neck.conv.weight", "backbone.adapter.weight"])
def test_what_may_change_the_answers_is_refused_with_a_way_on(
    tmp_path: Path, extra: str
) -> None:
    held = dict(tiny(Task.SEGMENT).state_dict()) | {extra: torch.zeros(2)}
    found = read(tmp_path, held)
    with pytest.raises(CheckpointError) as caught:
        load_network(found, TINY, Task.SEGMENT)
    assert f"unexpected: {extra}" in caught.value.message
    assert "--ignore-unexpected" in caught.value.hint
    load_network(found, TINY, Task.SEGMENT, ignore_unexpected=True)


class Trainer(nn.Module):
    """A network pickled whole, with its class."""

    def __init__(self) -> None:
        super().__init__()
        self.model = tiny(Task.SEGMENT)
        self.criterion = nn.CrossEntropyLoss(torch.ones(CLASSES))


@pytest.mark.parametrize("form", [True, False], ids=["zip", "legacy"])
def test_a_network_pickled_whole_is_read_out_of_its_attributes(
    tmp_path: Path, form: bool
) -> None:
    path = tmp_path / "whole.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sources were not found
        torch.save({"model": Trainer(), "epoch": 1}, path, _use_new_zipfile_serialization=form)
    found = read_checkpoint(path)
    assert_reads(found, dict(tiny(Task.SEGMENT).state_dict()))
    assert found.key == "model"


def test_an_averaged_model_is_read(tmp_path: Path) -> None:
    averaged = AveragedModel(tiny(Task.CLASSIFY))
    found = read(tmp_path, {"model_ema": averaged.state_dict()})
    assert_reads(found, dict(tiny(Task.CLASSIFY).state_dict()))


def test_arrays_of_numpy_are_weights(tmp_path: Path) -> None:
    arrays = {name: tensor.numpy() for name, tensor in state_of().items()}
    assert_reads(read(tmp_path, {"weights": arrays}))


HEADS = {
    "UPerNet": ["psp_modules.0.1.conv.weight", "fpn_convs.0.conv.weight", "conv_seg.weight"],
    "PSPNet": ["psp_modules.0.1.conv.weight", "bottleneck.conv.weight", "conv_seg.weight"],
    "DeepLabV3+": ["aspp_modules.0.conv.weight", "sep_bottleneck.0.weight", "conv_seg.weight"],
    "SegFormer (of its own repository)": ["linear_c1.proj.weight", "linear_fuse.conv.weight"],
    "Mask2Former": ["pixel_decoder.input_convs.0.conv.weight", "query_embed.weight"],
    "SegFormer with BatchNorm": [
        *("convs.0.conv.weight", "convs.0.bn.weight"),
        *("fusion_conv.conv.weight", "conv_seg.weight"),
    ],
    "FCN": ["convs.0.conv.weight", "convs.0.bn.weight", "conv_seg.weight"],
}


@pytest.mark.parametrize("whose", HEADS)
def test_heads_of_others_are_named_for_what_they_are(tmp_path: Path, whose: str) -> None:
    state = {n: t for n, t in state_of().items() if n.startswith("backbone.")}
    state |= {f"decode_head.{name}": torch.zeros(CLASSES, 2) for name in HEADS[whose]}
    found = read(tmp_path, {"state_dict": state})
    with pytest.raises(CheckpointError) as caught:
        load_network(found, TINY, Task.SEGMENT)
    assert f"has a head that is {whose}" in caught.value.message
    assert "--task features" in caught.value.hint


def test_what_holds_itself_is_walked_once(tmp_path: Path) -> None:
    held: dict[str, Any] = {"state_dict": state_of(), "epoch": 1}
    held["trainer"] = {"checkpoint": {f"copy{index}": held for index in range(40)}}
    assert read(tmp_path, held, "state_dict").key == "state_dict"


def test_a_module_without_weights_is_no_entry(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"activation": nn.ReLU(), "epoch": 3})
    assert error.message.endswith("holds no weights")
    assert_reads(read(tmp_path, {"activation": nn.ReLU(), "net": state_of()}))


def test_a_record_that_lies_beyond_the_file_is_damage(tmp_path: Path) -> None:
    torch.save(state_of(), tmp_path / "weights.pth")
    content = bytearray((tmp_path / "weights.pth").read_bytes())
    # The place of a record as the directory of the archive states it.
    entry = content.rfind(b"PK\x01\x02", 0, content.rfind(b"data/1"))
    content[entry + 42 : entry + 46] = (len(content) + 7).to_bytes(4, "little")
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (3,)])
def test_the_trainings_normalisation_is_told_where_it_is_not_imagenets(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    def notes(mean: list[float]) -> tuple[str, ...]:
        extra = {"data_preprocessor.mean": torch.tensor(mean).reshape(shape)}
        return read(tmp_path, {"state_dict": state_of() | extra}).notes

    assert "was trained on images of another mean: give --mean 127.5,127.5,127.5" in notes(
        [127.5] * 3
    )
    assert not any("--mean" in note for note in notes([123.675, 116.28, 103.53]))
