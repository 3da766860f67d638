"""``inspect CHECKPOINT`` tells what it is of and what is in it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from support.command_line import Run
from torch import Tensor

from hrvit_deploy.model.network import build_on_meta
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import Task


def state_of(variant: str, task: Task, classes: int) -> dict[str, Tensor]:
    """Weights of the right shapes, all nought."""
    shapes = build_on_meta(VARIANTS[variant], task, classes).state_dict()
    return {
        name: torch.zeros(tensor.shape, dtype=torch.half)
        if tensor.is_floating_point()
        else torch.zeros((), dtype=torch.int64)
        for name, tensor in shapes.items()
    }


@pytest.mark.parametrize(
    ("variant", "task", "classes"),
    [("b1", Task.SEGMENT, 19), ("b2", Task.CLASSIFY, 1000), ("b3", Task.SEGMENT, 150)],
)
def test_variant_task_and_classes_are_told(
    run: Run, folder: Path, variant: str, task: Task, classes: int
) -> None:
    names = [f"class {index}" for index in range(classes)]
    held = {
        "meta": {"CLASSES": names, "epoch": 40},
        "state_dict": state_of(variant, task, classes),
        "optimizer": {"state": {}},
        "args": argparse.Namespace(lr=0.1),
        "best": 0.8,
    }
    torch.save(held, folder / "mine.pth")

    ran = run("inspect", "mine.pth", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["variant"] == variant
    assert ran.json["tasks"] == {str(task): classes}
    assert ran.json["class_names"] == names
    assert ran.json["entry"] == "state_dict"
    assert ran.json["beside"] == {"best": "0.8", "epoch": "40"}
    assert ran.json["types"].keys() == {"float16", "int64"}
    text = run("inspect", "mine.pth").out
    assert f"HRViT-{variant}" in text
    assert f"{task} {classes} classes" in text


def test_entries_are_listed_with_the_one_taken(run: Run, folder: Path) -> None:
    state = state_of("b1", Task.SEGMENT, 3)
    held = {"model": state, "model_ema": state, "other": {"conv.weight": torch.zeros(2)}}
    torch.save(held, folder / "mine.pth")

    entries = run("inspect", "mine.pth", "--json").json["entries"]

    taken = {entry["name"]: (entry["network"], entry["taken"]) for entry in entries}
    assert taken == {
        "model": (True, False),
        "model_ema": (True, True),
        "other": (False, False),
    }
    chosen = run("inspect", "mine.pth", "--checkpoint-entry", "model", "--json").json
    assert chosen["entry"] == "model"


def test_networks_of_which_none_is_the_likeliest_are_listed(run: Run, folder: Path) -> None:
    state = state_of("b1", Task.SEGMENT, 3)
    torch.save({"student": state, "teacher": state}, folder / "mine.pth")
    entries = run("inspect", "mine.pth", "--json").json["entries"]
    assert [entry["name"] for entry in entries] == ["student", "teacher"]


def test_what_is_not_known_is_named(run: Run, folder: Path) -> None:
    state = state_of("b2", Task.SEGMENT, 3)
    state["backbone.stem.conv1.weight"] = torch.zeros(60, 3, 3, 3)
    state["decode_head.psp_modules.0.1.conv.weight"] = torch.zeros(2)
    state["decode_head.fpn_convs.0.conv.weight"] = torch.zeros(2)
    torch.save(state, folder / "mine.pth")

    ran = run("inspect", "mine.pth")

    assert "nearest b2, but for stem.conv1.weight" in ran.out
    assert "its head is UPerNet's" in ran.out


def test_an_index_and_its_folder_are_checkpoints(run: Run, folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / "sharded").mkdir()
    save_file(state_of("b1", Task.CLASSIFY, 7), folder / "sharded" / "one.safetensors")
    table = dict.fromkeys(state_of("b1", Task.CLASSIFY, 7), "one.safetensors")
    index = folder / "sharded" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    for name in ("sharded", "sharded/model.safetensors.index.json"):
        ran = run("inspect", name, "--json")
        assert ran.code == 0, ran.err
        assert (ran.json["variant"], ran.json["files"]) == ("b1", 2)


def test_a_checkpoint_that_is_not_there_is_one_line(run: Run) -> None:
    ran = run("inspect", "gone.pth")
    assert ran.code == 1
    assert ran.err == "error: there is no checkpoint gone.pth; check the path\n"
