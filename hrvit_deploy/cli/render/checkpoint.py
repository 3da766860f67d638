"""A checkpoint as ``inspect`` prints it."""

from __future__ import annotations

from hrvit_deploy.cli.console import human_bytes
from hrvit_deploy.cli.render.tables import columns, counts, facts, printer
from hrvit_deploy.model.shown import printable
from hrvit_deploy.model.weights_entry import BARE
from hrvit_deploy.report.checkpoint import CheckpointDescription


def print_checkpoint(held: CheckpointDescription) -> None:
    """Print what a checkpoint holds and what of it an export would take."""
    files = f", {held.files} files" if held.files > 1 else ""
    rows = {
        "checkpoint": f"{held.path} ({human_bytes(held.file_bytes)}{files})",
        "network": f"HRViT-{held.variant}"
        if held.variant
        else f"none of b1, b2 and b3; {_near(held)}",
        "task": _tasks(held),
        "parameters": f"{held.parameters / 1e6:.2f} M, of {counts(held.types)}",
    }
    if held.channels != 3:
        rows["takes"] = f"images of {held.channels} channels"
    if held.class_names:
        rows["classes"] = ", ".join(map(printable, held.class_names))
    for number, note in enumerate(held.notes):
        rows["found" if not number else " " * number] = note
    rows |= {name: value for name, value in held.beside.items() if name not in rows}
    console = printer()
    console.print(facts(rows))
    console.print(
        columns(
            ["entry", "tensors", "", ""],
            [
                [
                    entry.name or BARE,
                    f"{entry.tensors:,}",
                    "an HRViT" if entry.network else "something else",
                    "taken" if entry.taken else "",
                ]
                for entry in held.entries
            ],
        )
    )


def _near(held: CheckpointDescription) -> str:
    return f"nearest {held.nearest}"


def _tasks(held: CheckpointDescription) -> str:
    if held.head:
        return f"none that is known: its head is {held.head}"
    if not held.tasks:
        return "none: a backbone alone"
    return ", ".join(f"{task} {classes} classes" for task, classes in held.tasks.items())
