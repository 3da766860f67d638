"""Checkpoints as each trainer writes them give the very outputs of the bare state dict."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.networks import answer, noise
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hrvit_deploy.model.network import Network, build_network, set_random_weights
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import ImageSize, Task
from hrvit_deploy.trained import load

State = dict[str, Tensor]
CLASSES = 6
SMALLEST = ImageSize(32, 32)


@cache
def network_of(variant: str) -> Network:
    """A network whose weights all differ; nobody may change it."""
    network = build_network(VARIANTS[variant], Task.SEGMENT, CLASSES)
    set_random_weights(network, 5)
    return network


def renamed(state: State, rename: Callable[[str], str]) -> State:
    return {rename(name): tensor for name, tensor in state.items()}


def last(state: State) -> State:
    """Other weights, as those of the last step are beside an average."""
    return {n: t + 1 if t.is_floating_point() else t for n, t in state.items()}


def cast(state: State, dtype: torch.dtype) -> State:
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}


def optimizer_of(state: State) -> dict[str, Any]:
    moments = {i: {"step": 3, "exp_avg": torch.zeros(4)} for i in range(len(state))}
    return {"state": moments, "param_groups": [{"lr": 1e-4, "params": list(moments)}]}


def mmseg_0(state: State) -> Any:
    auxiliary = {"auxiliary_head.conv_seg.weight": torch.zeros(CLASSES, 8, 1, 1)}
    hooks = {"best_score": np.float64(0.81), "best_ckpt": "best_mIoU_iter_80000.pth"}
    meta = {"mmseg_version": "0.30.0", "CLASSES": ("a",) * CLASSES, "hook_msgs": hooks}
    return {"meta": meta, "state_dict": state | auxiliary, "optimizer": optimizer_of(state)}


def foreign(module: str, name: str, **attributes: Any) -> Any:
    """An object of a class that is not installed where the checkpoint is read."""
    for depth in range(module.count(".") + 1):
        part = ".".join(module.split(".")[: depth + 1])
        sys.modules.setdefault(part, types.ModuleType(part))
    made = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, made)
    thing = made()
    vars(thing).update(attributes)
    return thing


def mmseg_1(state: State) -> Any:
    buffer = foreign(
        "mmengine.logging.history_buffer", "HistoryBuffer", _log_history=np.ones(9), _set=2
    )
    extra = {"data_preprocessor.mean": torch.ones(3, 1, 1)}
    extra |= {"auxiliary_head.0.conv_seg.weight": torch.zeros(CLASSES, 8, 1, 1)}
    return {
        "meta": {"mmengine_version": "0.10.4", "dataset_meta": {"classes": ["a"] * CLASSES}},
        "state_dict": state | extra,
        "message_hub": {"log_scalars": {"train/loss": buffer}, "runtime_info": {"iter": 9}},
        "optimizer": optimizer_of(state),
        "param_schedulers": [{"_last_lr": [np.float32(0.1)]}],
    }


def timm(state: State) -> Any:
    args = argparse.Namespace(model="hrvit", output=pathlib.PurePosixPath("/out"), lr=0.1)
    return {
        "epoch": 299,
        "arch": "hrvit",
        "state_dict": last(state),
        "state_dict_ema": state,
        "optimizer": optimizer_of(state),
        "amp_scaler": {"scale": 65536.0, "_growth_tracker": 3},
        "args": args,
        "metric": np.float64(82.1),
    }


def lightning(state: State) -> Any:
    return {
        "state_dict": renamed(state, lambda name: f"model.{name}")
        | {"criterion.weight": torch.ones(CLASSES), "val_metrics.confmat": torch.zeros(6, 6)},
        "pytorch-lightning_version": "2.4.0",
        "callbacks": {
            "ModelCheckpoint{'monitor': 'miou'}": {"best_model_score": torch.ones(())}
        },
        "hyper_parameters": foreign("lightning.fabric", "AttributeDict", lr=0.1),
        "optimizer_states": [optimizer_of(state)],
        "lr_schedulers": [],
    }


def fsdp(state: State) -> Any:
    return {
        "model": renamed(
            state,
            lambda name: (
                "_fsdp_wrapped_module."
                + name.replace(".branches.", "._fsdp_wrapped_module.branches.").replace(
                    ".attn.", "._checkpoint_wrapped_module.attn."
                )
            ),
        )
    }


def averaged(state: State, network: nn.Module) -> Any:
    return {"model": last(state), "model_ema": AveragedModel(network).state_dict()}


def compiled(_: State, network: nn.Module) -> Any:
    return dict(torch.compile(network).state_dict())  # type: ignore[attr-defined]


TRAINERS: dict[str, Callable[..., Any]] = {
    "mmseg 0.x": mmseg_0,
    "mmseg 1.x": mmseg_1,
    "timm": timm,
    "Lightning": lightning,
    "DDP": lambda state: {"net": renamed(state, lambda name: f"module.{name}"), "acc": 0.9},
    "FSDP": fsdp,
    "EMA": lambda state: {"params": last(state), "params_ema": state, "step": torch.tensor(9)},
    "AveragedModel": averaged,
    "torch.compile": compiled,
    "half": lambda state: {"model_state_dict": cast(state, torch.half)},
    "bfloat16": lambda state: {"weights": cast(state, torch.bfloat16)},
    "sharded": lambda state: state,
}


def write(folder: Path, trainer: str, network: nn.Module) -> Path:
    """Write a checkpoint as that trainer does."""
    state = dict(network.state_dict())
    make = TRAINERS[trainer]
    held = (
        make(state, network) if trainer in ("AveragedModel", "torch.compile") else make(state)
    )
    if trainer != "sharded":
        torch.save(held, folder / "weights.pth")
        return folder / "weights.pth"
    table = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(held)}
    for file in set(table.values()):
        save_file({n: t for n, t in held.items() if table[n] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    return index


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("variant", ["b1", "b2"])
def test_a_trainers_checkpoint_answers_as_its_network(
    tmp_path: Path, variant: str, trainer: str
) -> None:
    network = network_of(variant)
    path = write(tmp_path, trainer, network)
    before = set(sys.modules)
    for name in [n for n in before if n.partition(".")[0] in ("mmengine", "lightning")]:
        del sys.modules[name]

    found = load(NetworkSpec(checkpoint=path))

    assert found.described.variant == VARIANTS[variant]
    assert (found.described.task, found.described.num_classes) == (Task.SEGMENT, CLASSES)
    if trainer.startswith("mmseg"):
        assert found.described.class_names == ("a",) * CLASSES
    dtypes = {"half": torch.half, "bfloat16": torch.bfloat16}
    expected = {
        name: tensor.to(dtypes[trainer]).float() if trainer in dtypes else tensor
        for name, tensor in network.state_dict().items()
    }
    state = found.network.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor), name
    if trainer not in dtypes:
        assert torch.equal(answer(found.network, noise(SMALLEST)), reference(variant))


@cache
def reference(variant: str) -> Tensor:
    return answer(network_of(variant), noise(SMALLEST))
