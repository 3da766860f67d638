"""Checkpoints as people have them: read safely, and fitted to the network by name."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint_file import damaged, read_file, read_metadata
from hrvit_deploy.model.inert_pickle import PickleError
from hrvit_deploy.model.network import Network, build_network, build_on_meta
from hrvit_deploy.model.shown import first, printable
from hrvit_deploy.model.stored_tensor import is_stored, load_stored
from hrvit_deploy.model.variants import VARIANTS, Variant
from hrvit_deploy.model.weight_names import bare_name
from hrvit_deploy.model.weights_entry import Choice, choose_entry
from hrvit_deploy.options import Task

CLASSIFIER_KEY = "head.classifier.weight"
SEGMENTER_KEY = "decode_head.conv_seg.weight"
CLASS_KEYS = {Task.CLASSIFY: CLASSIFIER_KEY, Task.SEGMENT: SEGMENTER_KEY}
# A whole number that inference never reads; old checkpoints lack it.
COUNTER = "num_batches_tracked"
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
        notes: What was chosen, left out and taken off, a line each.
        others: Entries that hold an HRViT, too.
    """

    path: Path
    key: str
    tensors: Mapping[str, Tensor]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks it holds a last layer for."""
        return tuple(task for task, key in CLASS_KEYS.items() if key in self.tensors)


def read_checkpoint(path: Path, entry: str | None = None) -> Checkpoint:
    """Read the weights of a checkpoint without running anything in it.

    Args:
        path: ``.pth``, ``.pt`` or ``.safetensors``, or the index of a sharded checkpoint.
        entry: Where in it the weights are; None to find out.

    Raises:
        CheckpointError: Missing, truncated, of another kind, without an HRViT or with several
            of which none is the likeliest.
    """
    loaded = read_file(path)
    choice = choose_entry(loaded, path, entry)
    chosen, names = choice.entry, choice.entry.names
    if names.twice:
        raise CheckpointError(
            f"{path} holds {printable(names.twice)} twice, under different prefixes",
            "save one network per checkpoint",
        )
    tensors = {
        bare: _load(chosen.values[name], bare, path)
        for bare, name in (names.weights | names.unexpected).items()
    }
    return Checkpoint(
        path,
        chosen.name,
        tensors,
        _class_names(loaded, path),
        tuple(_notes(choice)),
        choice.others,
    )


def _load(value: Any, name: str, path: Path) -> Tensor:
    """Read one tensor, floats as float32."""
    if not is_stored(value):
        raise _strange(path, [name])
    try:
        tensor = load_stored(value)
    except (PickleError, zlib.error, OSError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from error
    return tensor.float() if tensor.is_floating_point() else tensor


def _notes(choice: Choice) -> Iterator[str]:
    names = choice.entry.names
    if choice.note:
        yield choice.note
    if names.stripped:
        yield f"takes {first(names.stripped)} off the names of weights"
    if names.bookkeeping:
        yield (
            f"leaves out {len(names.bookkeeping)} entries that inference has no use for:"
            f" {first(names.bookkeeping)}"
        )


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
        raise _strange(checkpoint.path, strange)
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(
            f"{checkpoint.path} holds NaN or infinity in {first(broken)}",
            "take an earlier checkpoint; this training diverged",
        )


def _strange(path: Path, names: Sequence[str]) -> CheckpointError:
    return CheckpointError(
        f"{path} holds no plain float numbers in {first(names)}",
        "save the weights dense and whole, in float32, float16 or bfloat16",
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
    return "; ".join(f"{kind}: {first(names)}" for kind, names in mismatches.items() if names)


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


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
