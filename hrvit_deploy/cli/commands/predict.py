"""``predict``: what an artefact sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.parsing import parse_fit
from hrvit_deploy.cli.render import accuracy
from hrvit_deploy.inference.fit import Fit
from hrvit_deploy.runners.spec import (
    Implementation,
    InferencePrecision,
    Provider,
    RunOptions,
)


def predict(
    artefact: Annotated[Path, typer.Argument(help="An .onnx or .plan.")],
    images: Annotated[list[Path], typer.Argument(help="Images, and folders of them.")],
    fit: arg.FitName = Fit.STRETCH,
    stride: arg.Stride = None,
    flip: arg.Flip = False,
    scales: arg.Scales = "1",
    classes: arg.ClassesName = "",
    alpha: Annotated[
        float,
        typer.Option("--alpha", help="Opacity of the classes' colours in overlays, 0 to 1."),
    ] = 0.5,
    runner: arg.RunnerName = Implementation.ARTEFACT,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    threads: arg.Threads = None,
    checkpoint: arg.MovedCheckpoint = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write pictures to.")] = Path(
        "predictions"
    ),
    as_json: arg.AsJson = False,
) -> None:
    """Show what a segmenter sees in images, or a classifier's five likeliest classes."""
    from hrvit_deploy.inference.predict import PredictOptions, predict_images

    options = PredictOptions(parse_fit(fit, stride, scales, flip=flip), classes, alpha, out)
    run = RunOptions(
        provider=provider,
        implementation=runner,
        threads=threads,
        inference_precision=inference_precision,
        checkpoint=str(checkpoint or ""),
    )
    with Terminal() as terminal:
        chosen = resolve_artefact(artefact, terminal)
        predictions = predict_images(chosen, images, options, terminal, run=run)
        for failure in predictions.failed:
            terminal.warn(f"{failure.error.message}; {failure.error.hint}")
    accuracy.print_predictions(predictions, as_json=as_json)
    if predictions.failed:
        raise typer.Exit(1)
