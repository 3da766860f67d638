"""``evaluate`` and ``predict``: what an artefact's answers are worth, and what they are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli import show_judging as show
from hrvit_deploy.cli.choosing import given_or_newest
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.datasets import Layout
from hrvit_deploy.measure.fit import Fit, FitOptions, parse_scales, parse_stride
from hrvit_deploy.runners.contender import InferencePrecision, Provider


class Asked(StrEnum):
    """What answers: the artefact, or the network it came from in PyTorch."""

    ARTEFACT = "artefact"
    EAGER = "eager"
    COMPILE = "compile"

    @property
    def contender(self) -> dict[str, Any]:
        """As :func:`hrvit_deploy.pipeline.contender_for` takes it."""
        return {"eager": self is Asked.EAGER, "compiled": self is Asked.COMPILE}


RunnerName = Annotated[
    Asked,
    typer.Option("--runner", help="The artefact, or the network it came from, in PyTorch."),
]
FitName = Annotated[
    Fit, typer.Option("--fit", help="How an image becomes the input: resized, padded, windows.")
]
Stride = Annotated[
    str | None,
    typer.Option("--stride", help="Between windows, as 768 or 384x768; else 3/4 of one."),
]
Flip = Annotated[bool, typer.Option("--flip", help="Look at each image mirrored, too.")]
Scales = Annotated[
    str, typer.Option("--scales", help="Sizes to look at each image in, as 0.75,1; windows.")
]
ClassesName = Annotated[
    str,
    typer.Option(
        "--classes", help="ade20k, cityscapes, or a file with a name a line; else as found."
    ),
]


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Folder of the labelled images.")],
    artefact: arg.ArtefactPath = None,
    layout: Annotated[
        Layout, typer.Option("--layout", help="How that folder is laid out.")
    ] = Layout.AUTO,
    fit: FitName = Fit.STRETCH,
    stride: Stride = None,
    flip: Flip = False,
    scales: Scales = "1",
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="How many images at most; else all.")
    ] = None,
    ignore_index: Annotated[
        int, typer.Option("--ignore-index", help="A class that is not judged.")
    ] = 255,
    classes: ClassesName = "",
    runner: RunnerName = Asked.ARTEFACT,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    threads: arg.Threads = None,
    checkpoint: arg.CheckpointFile = None,
    out: Annotated[Path, typer.Option("--out", help="Folder the figures go to.")] = Path(
        "bench"
    ),
    as_json: arg.AsJson = False,
) -> None:
    """Judge an artefact on labelled images: mIoU, or top-1 and top-5."""
    looked = _fit_options(fit, stride, scales, flip=flip)
    from hrvit_deploy.measure.evaluate import EvaluateOptions

    options = EvaluateOptions(layout, looked, samples, ignore_index, classes)
    with Terminal() as terminal:
        chosen = given_or_newest(artefact, terminal)
        asked = "" if runner is Asked.ARTEFACT else f"-{runner}"
        saved = out / f"{chosen.path.stem}{asked}-evaluate.json"
        evaluation = pipeline.evaluate(
            chosen,
            data,
            options,
            terminal,
            provider=provider,
            inference_precision=inference_precision,
            threads=threads,
            checkpoint=str(checkpoint or ""),
            state=saved.with_suffix(".state"),
            **runner.contender,
        )
    show.evaluation(evaluation, options, chosen, saved, as_json=as_json)


def predict(
    artefact: Annotated[Path, typer.Argument(help="An .onnx or .plan.")],
    images: Annotated[list[Path], typer.Argument(help="Images, and folders of them.")],
    fit: FitName = Fit.STRETCH,
    stride: Stride = None,
    flip: Flip = False,
    scales: Scales = "1",
    classes: ClassesName = "",
    alpha: Annotated[
        float, typer.Option("--alpha", help="How much of the colours, from 0 to 1.")
    ] = 0.5,
    runner: RunnerName = Asked.ARTEFACT,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    threads: arg.Threads = None,
    checkpoint: arg.CheckpointFile = None,
    out: Annotated[Path, typer.Option("--out", help="Folder the pictures go to.")] = Path(
        "predictions"
    ),
    as_json: arg.AsJson = False,
) -> None:
    """Show what a segmenter sees in images, or a classifier's five likeliest classes."""
    looked = _fit_options(fit, stride, scales, flip=flip)
    from hrvit_deploy.measure.predict import PredictOptions

    options = PredictOptions(looked, classes, alpha, out)
    with Terminal() as terminal:
        predictions = pipeline.predict(
            open_artefact(artefact),
            images,
            options,
            terminal,
            provider=provider,
            inference_precision=inference_precision,
            threads=threads,
            checkpoint=str(checkpoint or ""),
            **runner.contender,
        )
        for failure in predictions.failed:
            terminal.warn(f"{failure.error.message}; {failure.error.hint}")
    show.predictions(predictions, as_json=as_json)
    if predictions.failed:
        raise typer.Exit(1)


def _fit_options(fit: Fit, stride: str | None, scales: str, *, flip: bool) -> FitOptions:
    steps = parse_stride(stride) if stride else None
    return FitOptions(fit, steps, flip, parse_scales(scales))
