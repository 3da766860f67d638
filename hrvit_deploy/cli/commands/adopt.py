"""``adopt``: a graph that another tool wrote to an artefact with a sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.cli.parsing import parse_network
from hrvit_deploy.cli.render import tables
from hrvit_deploy.errors import UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import Task, parse_any_size, parse_channels


def adopt(
    graph: Annotated[Path, typer.Argument(help="An .onnx that another tool wrote.")],
    like: Annotated[
        Path | None,
        typer.Option(
            "--like",
            help="Graph with a sidecar whose outputs it should have, and whose classes and"
            " preparation it takes over.",
            show_default="none",
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant",
            help="Network whose outputs it should have: b1, b2, b3, or a .toml or .json file"
            " that describes one.",
            show_default="the checkpoint's, else another network",
        ),
    ] = None,
    task: arg.TaskName = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            help="File of that network's weights: .pth, .pt or .safetensors.",
            show_default="none",
        ),
    ] = None,
    entry: arg.EntryName = None,
    ignore_unexpected: arg.IgnoreUnexpected = False,
    num_classes: Annotated[
        int | None,
        typer.Option(
            "--num-classes",
            min=1,
            help="Classes that the network distinguishes.",
            show_default="the checkpoint's, or as many as there are scores",
        ),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            "--classes",
            help="Names of classes: ade20k, cityscapes, or a file with a name a line.",
            show_default="the checkpoint's, or numbers",
        ),
    ] = "",
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            help="Height and width of the input, as 512x1024, where a graph leaves them open.",
            show_default="the graph's",
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            help="Name of the output that is used, of a graph with several.",
            show_default="the first",
        ),
    ] = "",
    mean: arg.Mean = None,
    std: arg.Std = None,
    images: arg.ImageFolder = None,
    samples: arg.Samples = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder to copy the graph to.",
            show_default="the graph stays, with its sidecar beside it",
        ),
    ] = None,
    accept_parity: arg.AcceptParity = False,
    as_json: arg.AsJson = False,
) -> None:
    """Compare a graph of another tool with what it should be, and give it a sidecar."""
    from hrvit_deploy.classes import named_classes
    from hrvit_deploy.pipeline.adopt import adopt as take_in
    from hrvit_deploy.pipeline.origin import AdoptRequest

    with Terminal() as terminal:
        request = AdoptRequest(
            like=open_artefact(like) if like else None,
            spec=_spec(variant, task, checkpoint, num_classes, entry, ignore_unexpected),
            size=parse_any_size(size) if size else None,
            mean=parse_channels(mean) if mean else None,
            std=parse_channels(std) if std else None,
            num_classes=num_classes,
            output=output,
            class_names=named_classes(classes).names if classes else (),
            images=ImageSource(images, samples),
            accept=accept_parity,
            folder=out,
        )
        made = take_in(graph, request, terminal)
    tables.print_artefact(made, as_json=as_json)


def _spec(
    variant: str | None,
    task: Task | None,
    checkpoint: Path | None,
    num_classes: int | None,
    entry: str | None,
    ignore_unexpected: bool,
) -> NetworkSpec | None:
    """Return the network it is compared with; None for another one than HRViT.

    Raises:
        UsageError: A variant or a task, and no weights to compare with.
    """
    if checkpoint is not None:
        return parse_network(
            variant,
            task,
            checkpoint,
            num_classes,
            entry=entry,
            ignore_unexpected=ignore_unexpected,
        )
    if variant is not None or task is not None:
        raise UsageError(
            "without its weights there is no network to compare the graph with",
            "add --checkpoint FILE, or --like ARTEFACT; for another network than HRViT leave"
            " --variant and --task out",
        )
    return None
