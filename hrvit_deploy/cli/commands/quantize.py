"""``quantize``: a float graph to an INT8 or FP8 one whose quality is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, exit_on_refusal
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.parsing import (
    parse_calibration,
    parse_criteria,
    parse_groups,
)
from hrvit_deploy.cli.render import quantization
from hrvit_deploy.options import Precision, QuantizeOptions
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.pipeline import quality_gate
from hrvit_deploy.pipeline.quantize import QuantizeRequest, check_castable, quantize_request
from hrvit_deploy.pipeline.stages import EXPORT_DIR


def quantize(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="A float32 or float16 .onnx.",
            show_default="the newest float32 one in export/",
        ),
    ] = None,
    fp8: arg.Fp8 = False,
    ranges: arg.RangesFile = None,
    images: arg.CalibrationImages = None,
    method: arg.MethodName = None,
    random_data: arg.RandomData = False,
    rest: Annotated[
        arg.RestPrecision | None,
        typer.Option(
            "--rest", help="Type of what is not quantized.", show_default="the graph's"
        ),
    ] = None,
    extra: arg.WithGroup = None,
    without: arg.WithoutGroup = None,
    keep: arg.Keep = None,
    auto: arg.Auto = False,
    data: arg.DataDir = None,
    labels: arg.LabelsDrawn = None,
    labels_from: arg.LabelsFrom = None,
    max_drop: arg.MaxDrop = None,
    min_agreement: arg.MinAgreement = None,
    samples: arg.GateImages = None,
    accept_parity: arg.AcceptParity = False,
    out: arg.OutDir = EXPORT_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Quantize a graph to INT8 or FP8 and check what that costs in quality."""
    precision = Precision.FP8 if fp8 else Precision.INT8
    request = QuantizeRequest(
        QuantizeOptions(precision, parse_groups(extra, without), tuple(keep or ())),
        parse_criteria(
            precision,
            data,
            images,
            samples,
            max_drop,
            min_agreement,
            labels=labels,
            labels_from=labels_from,
            accept=accept_parity,
        ),
        parse_calibration(method, images, random_data=random_data),
        ranges,
        images,
        None if rest is None else Precision(rest),
        auto,
    )
    require_writable(out, text=True)
    with Terminal() as terminal:
        graph = resolve_artefact(model, terminal, Precision.FP32)
        check_castable(graph, request.rest)
        made = quantize_request(graph, request, terminal, out)
        quality_gate.tell(made, terminal)
    quantization.print_quantized(made, as_json=as_json)
    exit_on_refusal(made)
