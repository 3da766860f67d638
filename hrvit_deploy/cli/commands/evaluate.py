"""``evaluate``: how good an artefact is on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.parsing import parse_fit
from hrvit_deploy.cli.render import accuracy
from hrvit_deploy.datasets import Layout
from hrvit_deploy.inference.fit import Fit
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.runners.spec import (
    Implementation,
    InferencePrecision,
    Provider,
    RunOptions,
)


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Folder of the labelled images.")],
    artefact: arg.ArtefactPath = None,
    layout: Annotated[
        Layout, typer.Option("--layout", help="How that folder is laid out.")
    ] = Layout.AUTO,
    fit: arg.FitName = Fit.STRETCH,
    stride: arg.Stride = None,
    flip: arg.Flip = False,
    scales: arg.Scales = "1",
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Images at most.", show_default="all")
    ] = None,
    ignore_index: Annotated[
        int, typer.Option("--ignore-index", help="Index of a class that does not count.")
    ] = 255,
    labels_from: arg.LabelsFrom = None,
    classes: arg.ClassesName = "",
    labels: arg.LabelsDrawn = None,
    runner: arg.RunnerName = Implementation.ARTEFACT,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    threads: arg.Threads = None,
    checkpoint: arg.MovedCheckpoint = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("bench"),
    as_json: arg.AsJson = False,
) -> None:
    """Measure mIoU, or top-1 and top-5, on labelled images."""
    from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, evaluate_artefact

    looked = parse_fit(fit, stride, scales, flip=flip)
    options = EvaluateOptions(
        layout, looked, samples, ignore_index, classes, labels, labels_from
    )
    run = RunOptions(
        provider=provider,
        implementation=runner,
        threads=threads,
        inference_precision=inference_precision,
        checkpoint=str(checkpoint or ""),
    )
    require_writable(out)
    with Terminal() as terminal:
        chosen = resolve_artefact(artefact, terminal)
        by = "" if runner is Implementation.ARTEFACT else f"-{runner}"
        saved = out / f"{chosen.path.stem}{by}-evaluate.json"
        state = saved.with_suffix(".state")
        evaluation = evaluate_artefact(chosen, data, options, terminal, run=run, state=state)
        if evaluation.doubt:
            terminal.warn(evaluation.doubt)
    accuracy.print_evaluation(evaluation, options, chosen, saved, as_json=as_json)
