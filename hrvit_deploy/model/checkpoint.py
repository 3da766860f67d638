"""Checkpoints as people have them: read safely, and fitted to the network by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint_file import damaged, read_file, read_metadata
from hrvit_deploy.model.known_heads import foreign_head
from hrvit_deploy.model.network import Network, build_network, build_on_meta
from hrvit_deploy.model.recognize import COUNTER, channels_of, nearest, recognize
from hrvit_deploy.model.recorded import Recorded, read_recorded
from hrvit_deploy.model.shown import first, printable
from hrvit_deploy.model.stored_tensor import is_stored, load_stored, shape_of
from hrvit_deploy.model.torch_file import BROKEN
from hrvit_deploy.model.variants import VARIANTS, Variant
from hrvit_deploy.model.weight_names import HEADS, bare_name
from hrvit_deploy.model.weights_entry import Choice, choose_entry
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, Task

CLASSIFIER_KEY = "head.classifier.weight"
SEGMENTER_KEY = "decode_head.conv_seg.weight"
CLASS_KEYS = {Task.CLASSIFY: CLASSIFIER_KEY, Task.SEGMENT: SEGMENTER_KEY}
COLORS = 3
# On the scale of 0 to 255; figures are written with three digits.
CLOSE = 0.02
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
        recorded: What it says of its training images.
    """

    path: Path
    key: str
    tensors: Mapping[str, Tensor]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    recorded: Recorded = field(default_factory=Recorded)

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
    return take_weights(loaded, choose_entry(loaded, path, entry), path)


def take_weights(loaded: Any, choice: Choice, path: Path) -> Checkpoint:
    """Read the weights of an entry, as :func:`read_checkpoint` does.

    Raises:
        CheckpointError: The numbers cannot be read, or a weight is there twice.
    """
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
        tuple(_notes(choice, path)),
        choice.others,
        read_recorded(loaded, path),
    )


def _load(value: Any, name: str, path: Path) -> Tensor:
    """Read one tensor, floats as float32."""
    if not is_stored(value):
        raise _strange(path, [name])
    try:
        tensor = load_stored(value)
    except BROKEN as error:
        raise damaged(path, error) from error
    return tensor.float() if tensor.is_floating_point() else tensor


def _notes(choice: Choice, path: Path) -> Iterator[str]:
    names = choice.entry.names
    if choice.note:
        yield choice.note
    if names.stripped:
        yield f"takes {first(names.stripped)} off the names of weights"
    yield from _normalisation(choice, path)
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


def _normalisation(choice: Choice, path: Path) -> Iterator[str]:
    """Say what a data preprocessor normalised the training's images by, if not as usual."""
    usual = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    for name in choice.entry.names.bookkeeping:
        kind = name.rpartition("preprocessor.")[2]
        value = choice.entry.values[name]
        if kind not in usual or not is_stored(value) or math.prod(shape_of(value)) != COLORS:
            continue
        found = [round(float(number), 3) for number in _load(value, name, path).flatten()]
        if any(
            abs(ours - theirs) > CLOSE for ours, theirs in zip(found, usual[kind], strict=True)
        ):
            said = ",".join(f"{number:g}" for number in found)
            yield f"was trained on images of another {kind}: give --{kind} {said}"


def load_network(
    checkpoint: Checkpoint,
    variant: Variant,
    task: Task,
    num_classes: int | None = None,
    in_channels: int = 3,
    *,
    ignore_unexpected: bool = False,
) -> Network:
    """Build the network with the checkpoint's weights, in evaluation mode.

    Args:
        checkpoint: From :func:`read_checkpoint`.
        variant: Whose shapes the weights must have.
        task: Whose head the weights must hold.
        num_classes: None takes the checkpoint's own number.
        in_channels: Channels of the input image.
        ignore_unexpected: Whether weights that the network has no place for are left out.

    Raises:
        CheckpointError: Names or shapes do not fit; the message lists the first missing,
            unexpected and misshapen ones.
    """
    if task is Task.FEATURES:
        checkpoint, num_classes = _without_head(checkpoint), 0
    classes = classes_in(checkpoint, task) if num_classes is None else num_classes
    _check_head(checkpoint, task)
    expected = build_on_meta(variant, task, classes, in_channels).state_dict()
    names = {bare_name(name): name for name in expected}
    shapes = {bare: tuple(expected[name].shape) for bare, name in names.items()}
    tensors = {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if name in names or not ignore_unexpected
    }
    complaint = compare_shapes(shapes, tensors)
    if complaint:
        needed = {name: tensor for name, tensor in tensors.items() if name in names}
        raise CheckpointError(
            f"{checkpoint.path} does not fit HRViT-{variant.name}{_to(task, classes)}:"
            f" {complaint}",
            _suggest(checkpoint, variant, task)
            if compare_shapes(shapes, needed)
            else _suggest_leaving_out(checkpoint, task),
        )
    _check_values(checkpoint.path, tensors)
    network = build_network(variant, task, classes, in_channels)
    network.load_state_dict(
        {names[bare]: tensor for bare, tensor in tensors.items()}, strict=False
    )
    return network


def _to(task: Task, classes: int) -> str:
    return "" if task is Task.FEATURES else f" to {task} {classes} classes"


def has_head(checkpoint: Checkpoint) -> bool:
    """Return whether it holds anything of a head, of HRViT's or of another kind."""
    return any(name.startswith(HEADS) for name in checkpoint.tensors)


def _without_head(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint of the backbone alone."""
    backbone = {n: t for n, t in checkpoint.tensors.items() if not n.startswith(HEADS)}
    return replace(checkpoint, tensors=backbone)


def find_variant(checkpoint: Checkpoint) -> Variant:
    """Return the variant that a checkpoint is of, by its shapes.

    Raises:
        CheckpointError: It is none of the known ones, or takes other images than RGB.
    """
    channels = channels_of(checkpoint.tensors)
    if channels != COLORS:
        raise CheckpointError(
            f"{checkpoint.path} takes images of {channels} channels, not {COLORS}",
            "give a network for red, green and blue",
        )
    found = recognize(checkpoint.tensors)
    if found is None:
        best, misfits = nearest(checkpoint.tensors)
        raise CheckpointError(
            f"{checkpoint.path} is none of HRViT-{', '.join(VARIANTS)}; the nearest is"
            f" {best.name}, but for {misfits}",
            "describe its widths and depths in a file: --variant FILE.toml, with the fields of"
            " hrvit_deploy.Variant",
        )
    return found


def _check_head(checkpoint: Checkpoint, task: Task) -> None:
    """Refuse a segmentation head of another kind by its name."""
    whose = foreign_head(checkpoint.tensors) if task is Task.SEGMENT else ""
    if whose:
        raise CheckpointError(
            f"{checkpoint.path} has a head that is {whose}, not the all-linear one of HRViT",
            "export the backbone alone with --task features, and run the head on its four maps",
        )


def _check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Check that every tensor holds finite numbers of a kind the network computes with."""
    strange = [name for name, tensor in tensors.items() if not _is_usable(name, tensor)]
    if strange:
        raise _strange(path, strange)
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(
            f"{path} holds NaN or infinity in {first(broken)}",
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
    _check_head(checkpoint, task)
    if key not in checkpoint.tensors:
        heads = ", ".join(checkpoint.tasks)
        raise CheckpointError(
            f"{checkpoint.path} holds no head to {task} with ({key} is missing)",
            f"add --task {heads}"
            if heads
            else "give a checkpoint with its head, or --task features",
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


def _suggest(checkpoint: Checkpoint, variant: Variant, task: Task) -> str:
    """Return which options would make a checkpoint fit."""
    found = recognize(checkpoint.tensors, (variant,))
    if found is None:
        return "check --variant, --task and --num-classes against how it was trained"
    heads = [head for head in checkpoint.tasks if head is task] or list(checkpoint.tasks)
    if found != variant:
        kind = heads[0] if heads else Task.FEATURES
        return f"it is HRViT-{found.name}: --variant {found.name} --task {kind}"
    if not heads:
        return "it has no head: --task features exports its four feature maps"
    classes = classes_in(checkpoint, heads[0])
    wanted = f"--num-classes {classes}" if heads[0] is task else f"--task {heads[0]}"
    return f"it is HRViT-{found.name} to {heads[0]} {classes} classes: {wanted}"


def _suggest_leaving_out(checkpoint: Checkpoint, task: Task) -> str:
    """Return what to do where everything needed fits and more is there."""
    others = [head for head in checkpoint.tasks if head is not task]
    if others:
        return (
            f"it holds a head to {others[0]}, too: --task {others[0]}, or --ignore-unexpected"
        )
    return (
        "everything that is needed is there: add --ignore-unexpected if what is more takes no"
        " part in inference"
    )
