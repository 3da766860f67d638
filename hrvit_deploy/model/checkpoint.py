"""Checkpoints as people have them: read safely, and fitted to the network by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint_file import read_file, read_metadata
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
# A whole number that inference never reads; old checkpoints lack it.
COUNTER = "num_batches_tracked"
SHOWN_KEYS = 3
# Where pickles may hold the names of the classes.
CLASS_NAME_KEYS = (
    ("meta", "CLASSES"),
    ("meta", "dataset_meta", "classes"),
    ("meta", "dataset_meta", "CLASSES"),
)


@dataclass(frozen=True)
class Checkpoint:
    """Weights by bare name, without any trainer's prefixes.

    Attributes:
        path: The file they came from.
        key: The entry they were under; empty for a bare state dict.
        tensors: Name to float32 (or integer) tensor.
        class_names: In the order of the scores; empty where the file names none.
    """

    path: Path
    key: str
    tensors: Mapping[str, Tensor]
    class_names: tuple[str, ...] = ()

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
    loaded = read_file(path)
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
    return Checkpoint(path, key, tensors, _class_names(loaded, path))


def _class_names(loaded: Any, path: Path) -> tuple[str, ...]:
    """Read what the file calls the classes, where its trainer saved names and they fit.

    In safetensors a JSON list under ``classes`` of the metadata; in pickles what
    mmsegmentation puts there, before and since its version 1.
    """
    for named in _said_of_classes(loaded, path):
        if isinstance(named, list | tuple) and all(isinstance(name, str) for name in named):
            return tuple(name.strip() for name in named)
    return ()


def _said_of_classes(loaded: Any, path: Path) -> Iterator[Any]:
    """Yield everything that stands where names may be."""
    try:
        yield json.loads(read_metadata(path).get("classes", "null"))
    except (ValueError, RecursionError):
        yield None
    for keys in CLASS_NAME_KEYS:
        entry = loaded
        for key in keys:
            entry = entry.get(key) if isinstance(entry, Mapping) else None
        yield entry


def bare_name(name: str) -> str:
    """Return a parameter's name without any wrapper's prefixes."""
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _find_weights(loaded: Any, path: Path) -> tuple[str, Mapping[str, Tensor]]:
    for key in (*WEIGHT_KEYS, ""):
        entry = loaded.get(key) if key and isinstance(loaded, Mapping) else loaded
        if not isinstance(entry, Mapping):
            continue
        tensors = {str(name): item for name, item in entry.items() if isinstance(item, Tensor)}
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
    """Build the network with the checkpoint's weights, in evaluation mode.

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
    classes = classes_in(checkpoint, task) if num_classes is None else num_classes
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
    _check_values(checkpoint)
    network = build_network(variant, task, classes, in_channels)
    network.load_state_dict(
        {names[bare]: tensor for bare, tensor in checkpoint.tensors.items()}, strict=False
    )
    return network


def _check_values(checkpoint: Checkpoint) -> None:
    """Check that every tensor holds finite numbers of a kind the network computes with."""
    tensors = checkpoint.tensors
    strange = [name for name, tensor in tensors.items() if not _is_usable(name, tensor)]
    if strange:
        raise CheckpointError(
            f"{checkpoint.path} holds no plain float numbers in {_first(strange)}",
            "save the weights dense, in float32, float16 or bfloat16",
        )
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(
            f"{checkpoint.path} holds NaN or infinity in {_first(broken)}",
            "take an earlier checkpoint; this training diverged",
        )


def _is_usable(name: str, tensor: Tensor) -> bool:
    """Return whether it is dense and on a device, and float unless it is a counter."""
    dense = tensor.layout is torch.strided and not tensor.is_meta
    return dense and (tensor.is_floating_point() or name.endswith(COUNTER))


def classes_in(checkpoint: Checkpoint, task: Task) -> int:
    """Return the number of classes of the checkpoint's last layer for that task."""
    key = CLASS_KEYS[task]
    if key not in checkpoint.tensors:
        heads = ", ".join(checkpoint.tasks)
        raise CheckpointError(
            f"{checkpoint.path} holds no head to {task} with ({key} is missing)",
            f"add --task {heads}" if heads else "give a checkpoint with its head",
        )
    shape = checkpoint.tensors[key].shape
    if not shape:
        raise CheckpointError(
            f"{checkpoint.path} holds a single number as {key}",
            "give a checkpoint with its head, or --num-classes",
        )
    return int(shape[0])


def compare_shapes(
    expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]
) -> str:
    """Describe what does not fit, in a few words; empty if everything does."""
    missing = [name for name in expected if name not in tensors and not name.endswith(COUNTER)]
    unexpected = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} ({_shape(tensors[name].shape)}, not {_shape(shape)})"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    mismatches = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    return "; ".join(f"{kind}: {_first(names)}" for kind, names in mismatches.items() if names)


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _first(names: list[str]) -> str:
    rest = len(names) - SHOWN_KEYS
    return ", ".join(names[:SHOWN_KEYS]) + (f" and {rest} more" if rest > 0 else "")


def _suggest(checkpoint: Checkpoint, variant: Variant, task: Task, in_channels: int) -> str:
    for other in (variant, *VARIANTS.values()):
        for head in checkpoint.tasks:
            classes = classes_in(checkpoint, head)
            state = build_on_meta(other, head, classes, in_channels).state_dict()
            shapes = {bare_name(name): tuple(t.shape) for name, t in state.items()}
            if compare_shapes(shapes, checkpoint.tensors):
                continue
            if other != variant:
                return f"it is HRViT-{other.name}: --variant {other.name} --task {head}"
            wanted = f"--num-classes {classes}" if head is task else f"--task {head}"
            return f"it is HRViT-{other.name} to {head} {classes} classes: {wanted}"
    return "check --variant, --task and --num-classes against how it was trained"
