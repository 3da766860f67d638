"""``inspect``: what an artefact or a checkpoint holds, or what a variant costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.artefact import Kind, plain
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, print_json
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.render import tables
from hrvit_deploy.model.variants import NetworkSpec, load_variant
from hrvit_deploy.options import DEFAULT_SIZE, Task, parse_size

# How the names of checkpoints end, beside the index of a sharded one.
WEIGHTS = frozenset((".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".safetensors"))


def inspect(
    artefact: Annotated[
        str,
        typer.Argument(
            help="An .onnx or .plan, a checkpoint, or a variant such as b1.",
            show_default="the newest graph in export/",
        ),
    ] = "",
    task: arg.TaskName = None,
    num_classes: arg.Classes = None,
    size: arg.Size = None,
    entry: arg.EntryName = None,
    as_json: arg.AsJson = False,
) -> None:
    """Say what an artefact or a checkpoint holds, or what a variant costs."""
    path = Path(artefact)
    if artefact and is_checkpoint(path):
        from hrvit_deploy.cli.render.checkpoint import print_checkpoint
        from hrvit_deploy.report.checkpoint import describe_checkpoint

        held = describe_checkpoint(path, entry)
        print_json(plain(held)) if as_json else print_checkpoint(held)
        return
    if artefact and path.suffix not in {f".{kind}" for kind in Kind}:
        from hrvit_deploy.report.variants import describe_variant

        spec = NetworkSpec(load_variant(artefact), task, None, num_classes)
        chosen = parse_size(size) if size else DEFAULT_SIZE[task or Task.CLASSIFY]
        variant = describe_variant(spec, chosen)
        print_json(plain(variant)) if as_json else tables.print_variant(variant)
        return
    from hrvit_deploy.report.inspect import describe

    with Terminal() as terminal:
        description = describe(
            resolve_artefact(path if artefact else None, terminal, usable=False)
        )
    print_json(plain(description)) if as_json else tables.print_description(description)


def is_checkpoint(path: Path) -> bool:
    """Return whether it is one by its name, or a file or folder that is nothing else."""
    if path.suffix.lower() in WEIGHTS or path.name.endswith(".index.json"):
        return True
    others = {f".{kind}" for kind in Kind} | {".toml", ".json"}
    return path.exists() and path.suffix.lower() not in others
