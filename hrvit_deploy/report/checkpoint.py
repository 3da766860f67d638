"""What a checkpoint holds: its networks, and what stands beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint import (
    CLASS_KEYS,
    Checkpoint,
    classes_in,
    take_weights,
)
from hrvit_deploy.model.checkpoint_file import parts_of, read_file
from hrvit_deploy.model.known_heads import foreign_head
from hrvit_deploy.model.recognize import channels_of, nearest, recognize
from hrvit_deploy.model.shown import printable
from hrvit_deploy.model.stored_tensor import Stored, shape_of
from hrvit_deploy.model.weights_entry import Choice, choose_entry, find_entries, states_in
from hrvit_deploy.options import Task

MOST_FACTS = 16


@dataclass(frozen=True)
class EntryDescription:
    """A mapping of tensors in a checkpoint.

    Attributes:
        name: What ``--checkpoint-entry`` takes; empty for a bare state dict.
        network: Whether it is an HRViT.
        taken: Whether it is taken where none is named.
    """

    name: str
    tensors: int
    network: bool
    taken: bool


@dataclass(frozen=True)
class CheckpointDescription:
    """A checkpoint, described.

    Attributes:
        files: Of which it is made; one, or an index and its shards.
        variant: By its shapes; empty for none of the known ones.
        nearest: Where it is none, the one that fits best and what does not fit.
        tasks: It holds a head for, with the number of classes of each.
        head: Whose segmentation head it has, where that is not HRViT's.
        channels: Of the images it takes.
        parameters: Numbers in its weights.
        types: Of the tensors in the file, with how many are of each.
        entries: Every mapping of tensors in it.
        beside: What else it says, such as the epoch.
        notes: How its weights were found.
    """

    path: str
    files: int
    file_bytes: int
    entry: str
    variant: str
    nearest: str
    tasks: dict[Task, int]
    head: str
    channels: int
    parameters: int
    types: dict[str, int]
    class_names: tuple[str, ...]
    entries: tuple[EntryDescription, ...]
    beside: dict[str, str]
    notes: tuple[str, ...]


def describe_checkpoint(path: Path, entry: str | None = None) -> CheckpointDescription:
    """Describe a checkpoint by what it holds, and run nothing of it.

    Args:
        path: As :func:`hrvit_deploy.model.checkpoint.read_checkpoint` takes it.
        entry: Where in it the weights are; None to find out.

    Raises:
        CheckpointError: It cannot be read, or holds no HRViT.
    """
    loaded = read_file(path)
    choice = _choice(loaded, path, entry)
    checkpoint = take_weights(loaded, choice, path)
    tensors = checkpoint.tensors
    variant = recognize(tensors)
    best, misfits = nearest(tensors) if variant is None else (variant, "")
    values = [choice.entry.values[name] for name in choice.entry.names.weights.values()]
    return CheckpointDescription(
        path=str(path),
        files=len(parts_of(path)),
        file_bytes=sum(part.stat().st_size for part in parts_of(path)),
        entry=checkpoint.key,
        variant=variant.name if variant else "",
        nearest=f"{best.name}, but for {misfits}" if misfits else "",
        tasks=_tasks(checkpoint),
        head=foreign_head(tensors),
        channels=channels_of(tensors),
        parameters=sum(t.numel() for t in tensors.values() if t.is_floating_point()),
        types=dict(Counter(_type(value) for value in values).most_common()),
        class_names=checkpoint.class_names,
        entries=_entries(loaded, checkpoint),
        beside=_beside(loaded),
        notes=checkpoint.notes,
    )


def _choice(loaded: Any, path: Path, entry: str | None) -> Choice:
    """Choose as an export would; of several none of which is the likeliest, the first."""
    try:
        return choose_entry(loaded, path, entry)
    except CheckpointError:
        entries = find_entries(loaded)
        if entry is not None or not entries:
            raise
        return Choice(
            entries[0], tuple(other.name for other in entries[1:]), ", one of several"
        )


def _tasks(checkpoint: Checkpoint) -> dict[Task, int]:
    """Return the tasks it has a head of HRViT for, with their classes."""
    tensors = checkpoint.tensors
    return {
        task: classes_in(checkpoint, task)
        for task in checkpoint.tasks
        if tensors[CLASS_KEYS[task]].shape
        and not (task is Task.SEGMENT and foreign_head(tensors))
    }


def _type(value: Any) -> str:
    if isinstance(value, Stored):
        return str(getattr(value, "dtype", "numpy")).removeprefix("torch.")
    return str(value.dtype).removeprefix("torch.")


def _entries(loaded: Any, checkpoint: Checkpoint) -> tuple[EntryDescription, ...]:
    networks = {entry.name: len(entry.names.weights) for entry in find_entries(loaded)}
    counts = {name: (count, True) for name, count in networks.items()}
    for name, values in states_in(loaded):
        inside = any(network == name or network.startswith(f"{name}/") for network in networks)
        if not inside and any(shape_of(value) for value in values.values() if _is_plain(value)):
            counts[name] = (len(values), False)
    return tuple(
        EntryDescription(printable(name), count, network, name == checkpoint.key)
        for name, (count, network) in counts.items()
    )


def _is_plain(value: Any) -> bool:
    return hasattr(value, "shape")


def _beside(loaded: Any) -> dict[str, str]:
    """Return the plain values of a checkpoint and of its ``meta``, by name."""
    if not isinstance(loaded, dict):
        return {}
    meta = loaded.get("meta")
    pairs = [*loaded.items(), *(meta.items() if isinstance(meta, dict) else ())]
    facts = [
        (printable(str(name)), printable(str(value)))
        for name, value in pairs
        if isinstance(value, str | int | float)
    ]
    return dict(facts[:MOST_FACTS])
