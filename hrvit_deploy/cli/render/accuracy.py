"""Evaluations and predictions as people and programs read them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hrvit_deploy.artefact import (
    Artefact,
    plain,
)
from hrvit_deploy.cli.console import print_json, written
from hrvit_deploy.cli.render.tables import columns, facts, printer
from hrvit_deploy.encoding import encode_json
from hrvit_deploy.staging import staging

if TYPE_CHECKING:
    from hrvit_deploy.inference.predict import Prediction, Predictions
    from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, Evaluation

TITLES = {
    "miou": "mIoU",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
    "top1": "top-1",
    "top5": "top-5",
}


def print_evaluation(
    evaluation: Evaluation,
    options: EvaluateOptions,
    artefact: Artefact,
    path: Path,
    *,
    as_json: bool,
) -> None:
    """Print an evaluation as a table, and write it to a file with its confusion matrix."""
    report = evaluation_report(evaluation, options, artefact)
    saved = written(lambda: save_evaluation(evaluation, report, path))
    if as_json:
        print_json({**report, "saved": path if saved else None})
    else:
        _print_figures(evaluation, options, artefact)
    if not saved:
        raise typer.Exit(1)
    if not as_json:
        printer().print(facts({"written": str(path)}))


def _print_figures(
    evaluation: Evaluation, options: EvaluateOptions, artefact: Artefact
) -> None:
    console = printer()
    rows = {TITLES[name]: percent(figure) for name, figure in evaluation.figures.items()}
    seen = f"{evaluation.images} images of {evaluation.layout}, {options.fit}"
    console.print(
        facts({"artefact": f"{artefact.path} in {evaluation.runner}", "judged": seen, **rows})
    )
    if evaluation.iou:
        table = [[name, percent(share)] for name, share in evaluation.iou.items()]
        console.print(columns(["class", "IoU"], table, numbers=True))


def evaluation_report(
    evaluation: Evaluation, options: EvaluateOptions, artefact: Artefact
) -> dict[str, Any]:
    """Return all figures and what they are of, but for the confusion matrix."""
    return {
        **evaluation.figures,
        **({"iou": evaluation.iou} if evaluation.iou else {}),
        "images": evaluation.images,
        "artefact": str(artefact.path),
        "sha256": artefact.manifest.sha256,
        "runner": evaluation.runner,
        "layout": evaluation.layout,
        "fit": plain(options.fit),
        "ignore_index": options.ignore_index,
        "labels_from": options.labels_from,
        "doubt": evaluation.doubt,
    }


def save_evaluation(evaluation: Evaluation, report: dict[str, Any], path: Path) -> None:
    """Write the report and the confusion matrix, whole or not at all."""
    confusion = {
        "classes": evaluation.classes.names,
        "counts": evaluation.confusion.counts.tolist(),
        "undecided": evaluation.confusion.undecided.tolist(),
    }
    encoded = encode_json({**report, "confusion": confusion})
    with staging(path) as folder:
        (folder / path.name).write_bytes(encoded + b"\n")


def percent(share: float | None) -> str:
    """Return ``71.42 %``, or a dash where there is nothing to divide."""
    return "-" if share is None or math.isnan(share) else f"{share:.2%}".replace("%", " %")


def print_predictions(predictions: Predictions, *, as_json: bool) -> None:
    """Print predictions, image by image."""
    if as_json:
        failed = [{"image": f.image, "error": f.error.message} for f in predictions.failed]
        print_json(
            {"predictions": [_as_json(made) for made in predictions.made], "failed": failed}
        )
        return
    console = printer()
    for made in predictions.made:
        console.print(facts(_as_rows(made)))


def _as_json(made: Prediction) -> dict[str, Any]:
    if made.likeliest:
        top5 = [
            {"class": one.name, "index": one.index, "probability": one.probability}
            for one in made.likeliest
        ]
        return {"image": made.image, "top5": top5}
    return {
        "image": made.image,
        "overlay": made.overlay,
        "labels": made.labels,
        "classes": made.shares,
    }


def _as_rows(made: Prediction) -> dict[str, str]:
    if made.likeliest:
        likely = (f"{percent(one.probability)} {one.name}" for one in made.likeliest)
        return {"image": str(made.image), "likeliest": ", ".join(likely)}
    largest = list(made.shares.items())[:5]
    seen = ", ".join(f"{percent(share)} {name}" for name, share in largest)
    more = len(made.shares) - len(largest)
    return {
        "image": str(made.image),
        "seen": seen + (f" and {more} more" if more else ""),
        "written": f"{made.overlay}, {made.labels}",
    }
