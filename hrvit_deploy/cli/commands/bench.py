"""``bench``: artefacts timed in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, now
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.render import tables
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.runners.spec import InferencePrecision, Provider


def bench(
    artefacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Graphs and plans.", show_default="the newest graph in export/"),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            help="Baselines with commas between: the first artefact's network as eager or"
            " compile, or that artefact in openvino.",
            show_default="the first artefact",
        ),
    ] = "",
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    threads: arg.Threads = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images per run where the batch is dynamic.")
    ] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns that each takes.")] = 10,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs per turn.")] = 10,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Untimed runs first.")] = 5,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Time operators and the slowest nodes, too.",
            show_default="whole runs alone",
        ),
    ] = False,
    checkpoint: arg.MovedCheckpoint = None,
    out: arg.OutDir = Path("bench"),
    as_json: arg.AsJson = False,
) -> None:
    """Time artefacts in turn, round by round; ratios are to the first row."""
    from hrvit_deploy.measure.environment import describe_environment
    from hrvit_deploy.measure.latency.bench import BenchOptions
    from hrvit_deploy.pipeline.bench import BenchRequest, bench_artefacts

    require_writable(out)
    request = BenchRequest(
        against=tuple(name.strip() for name in against.split(",") if name.strip()),
        provider=provider,
        inference_precision=inference_precision,
        threads=threads,
        batch=batch,
        checkpoint=str(checkpoint or ""),
        profile=profile,
    )
    with Terminal() as terminal:
        opened = [resolve_artefact(path, terminal) for path in artefacts or (None,)]
        report, profiles = bench_artefacts(
            opened,
            request,
            BenchOptions(rounds=rounds, runs=runs, warmup=warmup),
            describe_environment(now()),
            terminal,
        )
    tables.print_bench(report, out, opened[0].path.stem, profiles=profiles, as_json=as_json)
    if any(row.error for row in report.results):
        raise typer.Exit(1)
