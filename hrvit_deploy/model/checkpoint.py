"""Checkpoints as people have them: read safely, and fitted to the network by name."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.network import Network, build_network, build_on_meta
from hrvit_deploy.model.variants import VARIANTS, Variant
from hrvit_deploy.options import Task

# Where trainers put the weights; an average of them is the better network, so first.
WEIGHT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
# What data parallelism, compilation, Lightning and mmsegmentation put before a name.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
# Of use in training alone.
TRAINING_ONLY = ("auxiliary_head.",)
CLASSIFIER_KEY = "head.classifier.weight"
SEGMENTER_KEY = "decode_head.conv_seg.weight"
CLASS_KEYS = {Task.CLASSIFY: CLASSIFIER_KEY, Task.SEGMENT: SEGMENTER_KEY}
SHOWN_KEYS = 3


@dataclass(frozen=True)
class Checkpoint:
    """Weights by bare name, without any trainer's prefixes.

    Attributes:
        path: The file they came from.
        key: The entry they were under; empty for a bare state dict.
        tensors: Name to float32 (or integer) tensor.
    """

    path: Path
    key: str
    tensors: Mapping[str, Tensor]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks it holds a last layer for."""
        return tuple(task for task, key in CLASS_KEYS.items() if key in self.tensors)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read ``.pth``, ``.pt`` or ``.safetensors`` without running anything in it.

    Raises:
        CheckpointError: Missing, truncated, of another kind, or a pickle that holds more
            than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}", "check the path")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    key, state = _find_weights(loaded, path)
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        bare = bare_name(name)
        if bare.startswith(TRAINING_ONLY):
            continue
        if bare in tensors:
            raise CheckpointError(
                f"{path} holds {bare} twice, under different prefixes",
                "save one network per checkpoint",
            )
        tensors[bare] = tensor.float() if tensor.is_floating_point() else tensor
    return Checkpoint(path, key, tensors)


def bare_name(name: str) -> str:
    """A parameter's name without any wrapper's prefixes."""
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _unreadable(path, str(error)) from error


def _read_pickle(path: Path) -> Any:
    try:
        # timm's training script saves its argparse options beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _is_cut_short(str(error)):
            raise _unreadable(path, str(error)) from error
        first = str(error).replace("\n", " ")
        reason = first[first.find("Unsupported") :] if "Unsupported" in first else first
        raise CheckpointError(
            f"{path} is refused unread: it is a pickle that holds more than tensors"
            f" ({reason[:160].strip()})",
            "such a file can run code; save the state dict alone, best as .safetensors",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise _unreadable(path, str(error)) from error


def _is_cut_short(text: str) -> bool:
    signs = ("truncated", "ran out of input", "eof", "incomplete", "central directory")
    return any(sign in text.lower() for sign in signs)


def _unreadable(path: Path, reason: str) -> CheckpointError:
    head = path.open("rb").read(64)
    if head.startswith(b"version https://git-lfs"):
        return CheckpointError(
            f"{path} is a Git LFS pointer, not the weights", "run git lfs pull"
        )
    # A zip archive keeps its directory at the end, safetensors its length at the start.
    if _is_cut_short(reason) or head.startswith(b"PK\x03\x04") or not head:
        return CheckpointError(
            f"{path} is truncated: only {path.stat().st_size:,} bytes of it are here",
            "copy or download it again, and compare its size and hash with the source",
        )
    return CheckpointError(
        f"{path} is not a checkpoint: {reason.splitlines()[0][:160] if reason else head!r}",
        "give a .pth, .pt or .safetensors file that holds a state dict",
    )


def _find_weights(loaded: Any, path: Path) -> tuple[str, Mapping[str, Tensor]]:
    key = ""
    if isinstance(loaded, Mapping):
        key = next((k for k in WEIGHT_KEYS if isinstance(loaded.get(k), Mapping)), "")
    state = loaded[key] if key else loaded
    if isinstance(state, Mapping):
        tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
        if tensors:
            return key, tensors
    raise CheckpointError(
        f"{path} holds no weights", f"save a state dict, bare or under {WEIGHT_KEYS[2]!r}"
    )


def load_network(
    checkpoint: Checkpoint,
    variant: Variant,
    task: Task,
    num_classes: int | None = None,
    in_channels: int = 3,
) -> Network:
    """The network with the checkpoint's weights, in evaluation mode.

    Args:
        checkpoint: From :func:`read_checkpoint`.
        variant: Whose shapes the weights must have.
        task: Whose head the weights must hold.
        num_classes: None takes the checkpoint's own number.
        in_channels: Channels of the input image.

    Raises:
        CheckpointError: Names or shapes do not fit; the message lists the first missing,
            unexpected and misshapen ones.
    """
    classes = num_classes or classes_in(checkpoint, task)
    expected = build_on_meta(variant, task, classes, in_channels).state_dict()
    names = {bare_name(name): name for name in expected}
    shapes = {bare: tuple(expected[name].shape) for bare, name in names.items()}
    complaint = compare_shapes(shapes, checkpoint.tensors)
    if complaint:
        raise CheckpointError(
            f"{checkpoint.path} does not fit HRViT-{variant.name} to {task} {classes} classes:"
            f" {complaint}",
            _suggest(checkpoint, variant, task, in_channels),
        )
    broken = [n for n, t in checkpoint.tensors.items() if not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(
            f"{checkpoint.path} holds NaN or infinity in {_first(broken)}",
            "take an earlier checkpoint; this training diverged",
        )
    network = build_network(variant, task, classes, in_channels)
    network.load_state_dict(
        {names[bare]: tensor for bare, tensor in checkpoint.tensors.items()}, strict=False
    )
    return network


def classes_in(checkpoint: Checkpoint, task: Task) -> int:
    """The number of classes of the checkpoint's last layer for that task."""
    key = CLASS_KEYS[task]
    if key not in checkpoint.tensors:
        found = ", ".join(checkpoint.tasks)
        raise CheckpointError(
            f"{checkpoint.path} holds no head to {task} with ({key} is missing)",
            f"add --task {found}" if found else "give a checkpoint with its head",
        )
    return int(checkpoint.tensors[key].shape[0])


def compare_shapes(
    expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]
) -> str:
    """What does not fit, in a few words; empty if everything does."""
    # Old checkpoints lack this counter, which inference never reads.
    needed = {name for name in expected if not name.endswith("num_batches_tracked")}
    missing = [name for name in expected if name in needed - tensors.keys()]
    unexpected = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} ({_shape(tensors[name].shape)}, not {_shape(shape)})"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    return "; ".join(f"{kind}: {_first(names)}" for kind, names in found.items() if names)


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _first(names: list[str]) -> str:
    rest = len(names) - SHOWN_KEYS
    return ", ".join(names[:SHOWN_KEYS]) + (f" and {rest} more" if rest > 0 else "")


def _suggest(checkpoint: Checkpoint, variant: Variant, task: Task, in_channels: int) -> str:
    for other in VARIANTS.values():
        for held in checkpoint.tasks:
            classes = classes_in(checkpoint, held)
            state = build_on_meta(other, held, classes, in_channels).state_dict()
            shapes = {bare_name(name): tuple(t.shape) for name, t in state.items()}
            if not compare_shapes(shapes, checkpoint.tensors):
                return f"it is HRViT-{other.name}: --variant {other.name} --task {held}" + (
                    f" --num-classes {classes}"
                    if (other.name, held) == (variant.name, task)
                    else ""
                )
    return "check --variant, --task and --num-classes against how it was trained"
