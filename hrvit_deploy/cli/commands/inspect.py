"""``inspect``: what an artefact holds, or what a variant costs."""

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


def inspect(
    artefact: Annotated[
        str,
        typer.Argument(
            help="An .onnx or .plan, or a variant such as b1.",
            show_default="the newest graph in export/",
        ),
    ] = "",
    task: arg.TaskName = None,
    num_classes: arg.Classes = None,
    size: arg.Size = None,
    as_json: arg.AsJson = False,
) -> None:
    """Say what an artefact holds and where it came from, or what a variant costs."""
    path = Path(artefact)
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
