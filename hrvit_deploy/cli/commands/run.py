"""``run``: the whole pipeline in one command."""

from __future__ import annotations

from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, now
from hrvit_deploy.cli.parsing import parse_criteria, parse_network
from hrvit_deploy.cli.render import tables
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import (
    DEFAULT_SIZE,
    Backend,
    BuildOptions,
    ExportOptions,
    Precision,
    parse_size,
)
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.pipeline import stages


def run(
    variant: arg.VariantName = None,
    task: arg.TaskName = None,
    checkpoint: arg.CheckpointFile = None,
    entry: arg.EntryName = None,
    ignore_unexpected: arg.IgnoreUnexpected = False,
    num_classes: arg.Classes = None,
    size: arg.Size = None,
    images: arg.EngineImages = None,
    samples: arg.Samples = None,
    backend: arg.BackendName = Backend.AUTO,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Turns that each takes when timed.")
    ] = 5,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Multiply in INT8, calibrated and checked.", show_default="in FP16"
        ),
    ] = False,
    fp8: Annotated[
        bool,
        typer.Option(
            "--fp8",
            help="Multiply in FP8 (E4M3), calibrated and checked.",
            show_default="in FP16",
        ),
    ] = False,
    accept_parity: arg.AcceptParity = False,
    as_json: arg.AsJson = False,
) -> None:
    """Export, verify, build an engine and time the graph, in one command."""
    from hrvit_deploy.measure.environment import describe_environment
    from hrvit_deploy.measure.latency.bench import BenchOptions
    from hrvit_deploy.pipeline.run import run_pipeline

    if int8 and fp8:
        raise UsageError("an engine has one precision, not int8 and fp8", "give one of the two")
    precision = Precision.INT8 if int8 else Precision.FP8 if fp8 else Precision.FP16
    criteria = parse_criteria(
        precision, None, images, samples, None, None, usual_count=None, accept=accept_parity
    )
    spec = parse_network(
        variant,
        task,
        checkpoint,
        num_classes,
        entry=entry,
        ignore_unexpected=ignore_unexpected,
    )
    require_writable(stages.EXPORT_DIR, stages.ENGINES_DIR, hint="run it in another folder")
    with Terminal() as terminal:
        trained = stages.load(spec, terminal)
        result = run_pipeline(
            trained,
            ExportOptions(
                size=parse_size(size) if size else DEFAULT_SIZE[trained.described.built_task]
            ),
            BuildOptions(precision, backend),
            BenchOptions(rounds=rounds),
            terminal,
            criteria=criteria,
            environment=describe_environment(now()),
            images=images,
        )
    tables.print_run(result, as_json=as_json)
