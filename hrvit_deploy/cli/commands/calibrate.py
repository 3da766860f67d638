"""``calibrate``: ranges of a graph's activations, measured on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, print_json
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.parsing import check_random_data
from hrvit_deploy.cli.render import tables as show
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import CalibrationOptions, Method, Precision
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.pipeline.stages import CALIB_DIR

DEFAULTS = CalibrationOptions()


def calibrate(
    model: arg.FloatGraph = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder, .txt list or .npz of images to calibrate on.",
            show_default="calib/images/",
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option("--method", help="How a range is chosen from a histogram.")
    ] = DEFAULTS.method,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=1, help="Images to calibrate on at most, spread evenly over all."
        ),
    ] = DEFAULTS.samples,
    percentile: Annotated[
        float | None,
        typer.Option(
            "--percentile",
            help="Percent of the values that a range of --method percentile keeps.",
            show_default=str(DEFAULTS.percentile),
        ),
    ] = None,
    random_data: arg.RandomData = False,
    out: arg.OutDir = CALIB_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Measure the range of every activation that a product takes, for INT8 and FP8."""
    if percentile is not None and method is not Method.PERCENTILE:
        raise UsageError(
            f"--percentile says nothing to the method {method}", "add --method percentile"
        )
    check_random_data(images, random_data=random_data)
    require_writable(out)
    from hrvit_deploy.quantization.calibration.stage import calibrate_artefact

    options = CalibrationOptions(
        method, samples, DEFAULTS.percentile if percentile is None else percentile, random_data
    )
    with Terminal() as terminal:
        artefact = resolve_artefact(model, terminal, Precision.FP32)
        path, ranges = calibrate_artefact(artefact, images, options, out, terminal)
    if as_json:
        print_json(
            {
                "artefact": path,
                "model": artefact.path,
                "method": ranges.method,
                "percentile": ranges.percentile,
                "images": ranges.images,
                "images_sha256": ranges.images_sha256,
                "random_data": ranges.random_data,
                "tensors": len(ranges.amax),
            }
        )
        return
    rows = {
        "ranges": f"{path}, {len(ranges.amax)} tensors",
        "model": str(artefact.path),
        "method": str(ranges.method),
        "images": f"{ranges.images}, SHA-256 {ranges.images_sha256[:16]}",
    }
    if ranges.method is Method.PERCENTILE:
        rows["method"] += f" {ranges.percentile}"
    if ranges.random_data:
        rows["images"] = f"none: {ranges.images} times noise"
    show.printer().print(show.facts(rows))
