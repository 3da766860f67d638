"""``sensitivity``: what each product costs in eight bits, alone."""

from __future__ import annotations

from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.parsing import parse_calibration, parse_criteria, parse_groups
from hrvit_deploy.cli.render import quantization
from hrvit_deploy.options import Precision, QuantizeOptions
from hrvit_deploy.outputs import require_writable, workplace
from hrvit_deploy.pipeline.mixed_precision import (
    SENSITIVITY_IMAGES,
    rank_products,
    ranking_file,
)
from hrvit_deploy.pipeline.quantize import check_castable, find_ranges
from hrvit_deploy.pipeline.stages import CALIB_DIR


def sensitivity(
    model: arg.FloatGraph = None,
    fp8: arg.Fp8 = False,
    ranges: arg.RangesFile = None,
    images: arg.CalibrationImages = None,
    method: arg.MethodName = None,
    extra: arg.WithGroup = None,
    without: arg.WithoutGroup = None,
    data: arg.DataDir = None,
    labels: arg.LabelsDrawn = None,
    labels_from: arg.LabelsFrom = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Images that each product is tried on.")
    ] = SENSITIVITY_IMAGES,
    out: arg.OutDir = CALIB_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Quantize one product at a time and rank them by what that costs."""
    precision = Precision.FP8 if fp8 else Precision.INT8
    options = QuantizeOptions(precision, parse_groups(extra, without))
    criteria = parse_criteria(
        precision, data, images, samples, None, None, labels=labels, labels_from=labels_from
    )
    calibration = parse_calibration(method, images, random_data=False)
    require_writable(out)
    with Terminal() as terminal:
        graph = resolve_artefact(model, terminal, Precision.FP32)
        check_castable(graph, None)
        ranges_folder = workplace(CALIB_DIR, out, terminal)
        file, measured = find_ranges(
            graph, ranges, images, calibration, terminal, folder=ranges_folder
        )
        resume = ranking_file(graph, (file, measured), options, criteria, samples)
        ranking = rank_products(
            graph, measured, options, criteria, terminal, images=samples, resume_file=resume
        )
    about = {
        "model": graph.path.name,
        "model_sha256": graph.manifest.sha256,
        "precision": precision,
        "ranges": file,
        "method": measured.method,
    }
    path = out / f"{graph.path.stem}-{precision}-sensitivity.json"
    quantization.print_sensitivity(ranking, path, about, as_json=as_json)
    resume.remove()
