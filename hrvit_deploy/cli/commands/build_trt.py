"""``build-trt``: an ONNX artefact to a TensorRT engine of one precision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, exit_on_refusal
from hrvit_deploy.cli.newest import resolve_artefact, resolve_quantizable
from hrvit_deploy.cli.parsing import (
    parse_calibration,
    parse_criteria,
    parse_groups,
)
from hrvit_deploy.cli.render import tables
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import (
    QUANTIZED,
    Backend,
    BatchProfile,
    BuildOptions,
    HardwareCompatibility,
    Precision,
    QuantizeOptions,
    parse_profile,
)
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.pipeline.build import build_from
from hrvit_deploy.pipeline.quantize import QuantizeRequest
from hrvit_deploy.pipeline.stages import ENGINES_DIR


def build_trt(
    model: Annotated[
        Path | None,
        typer.Argument(help="An .onnx.", show_default="the newest that will do in export/"),
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Multiply in float32.")] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Multiply in float16: the default.")
    ] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Multiply in bfloat16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Multiply in INT8.")] = False,
    fp8: Annotated[bool, typer.Option("--fp8", help="Multiply in FP8 (E4M3).")] = False,
    backend: arg.BackendName = Backend.AUTO,
    profile: Annotated[
        str,
        typer.Option(
            "--profile", help="Least, usual and largest batch of a dynamic graph, in images."
        ),
    ] = "1,1,8",
    workspace: Annotated[
        int,
        typer.Option(
            "--workspace",
            min=0,
            help="Scratch memory of the builder, in MiB; 0 leaves it its own limit.",
        ),
    ] = 0,
    optimization_level: Annotated[
        int | None,
        typer.Option(
            "--optimization-level",
            help="Effort of the builder: 0 builds fastest, 5 runs fastest.",
            show_default="the builder's own",
        ),
    ] = None,
    timing_cache: Annotated[
        bool,
        typer.Option(
            "--timing-cache/--no-timing-cache",
            help="Keep timings of kernels between builds; TensorRT alone.",
        ),
    ] = True,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let float32 products use TF32.")
    ] = False,
    hardware_compatibility: Annotated[
        HardwareCompatibility,
        typer.Option("--hardware-compatibility", help="Other GPUs that may run the plan."),
    ] = HardwareCompatibility.NONE,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible", help="Let later versions of TensorRT run the plan."
        ),
    ] = False,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-capability",
            help="GPU that TensorRT-RTX builds for, as 8.9; repeatable.",
            show_default="all it supports",
        ),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Keep weights replaceable in the plan.")
    ] = False,
    strip_weights: Annotated[
        bool,
        typer.Option("--strip-weights", help="Leave weights out of the plan, to be refitted."),
    ] = False,
    images: arg.EngineImages = None,
    samples: arg.GateImages = None,
    accept_parity: arg.AcceptParity = False,
    data: arg.DataDir = None,
    labels: arg.LabelsDrawn = None,
    labels_from: arg.LabelsFrom = None,
    max_drop: arg.MaxDrop = None,
    min_agreement: arg.MinAgreement = None,
    ranges: arg.RangesFile = None,
    method: arg.MethodName = None,
    random_data: arg.RandomData = False,
    rest: Annotated[
        arg.RestPrecision | None,
        typer.Option(
            "--rest", help="Type of what INT8 and FP8 leave in float.", show_default="fp16"
        ),
    ] = None,
    extra: arg.WithGroup = None,
    without: arg.WithoutGroup = None,
    keep: arg.Keep = None,
    auto: arg.Auto = False,
    variant: Annotated[
        str, typer.Option("--variant", help="Variant of a quantized graph without a sidecar.")
    ] = "b1",
    out: arg.OutDir = ENGINES_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Build a TensorRT engine and check its types."""
    options = BuildOptions(
        precision=_one_precision(fp32=fp32, fp16=fp16, bf16=bf16, int8=int8, fp8=fp8),
        backend=backend,
        workspace_mib=workspace,
        optimization_level=optimization_level,
        timing_cache=timing_cache,
        tf32=tf32,
        profile=parse_profile(profile) if profile != "1,1,8" else BatchProfile(),
        hardware_compatibility=hardware_compatibility,
        version_compatible=version_compatible,
        compute_capabilities=tuple(compute_capability or ()),
        refit=refit,
        strip_weights=strip_weights,
    )
    precision = options.precision
    request = QuantizeRequest(
        QuantizeOptions(
            precision if precision in QUANTIZED else Precision.INT8,
            parse_groups(extra, without),
            tuple(keep or ()),
        ),
        parse_criteria(
            precision,
            data,
            images,
            samples,
            max_drop,
            min_agreement,
            usual_count=None,
            labels=labels,
            labels_from=labels_from,
            accept=accept_parity,
        ),
        parse_calibration(method, images, random_data=random_data),
        ranges,
        images,
        Precision.FP16 if rest is None else Precision(rest),
        auto,
    )
    _check_request(precision, request, says_rest=rest is not None)
    require_writable(out, text=True)
    with Terminal() as terminal:
        graph = (
            resolve_quantizable(model, precision, variant, terminal)
            if precision in QUANTIZED
            else resolve_artefact(model, terminal, *{precision, Precision.FP32})
        )
        engine = build_from(graph, options, request, terminal, out)
    tables.print_artefact(engine, as_json=as_json)
    exit_on_refusal(engine)


def _one_precision(**flags: bool) -> Precision:
    """Return the one precision asked for, float16 by default.

    Raises:
        UsageError: There are several.
    """
    chosen = [Precision(name) for name, wanted in flags.items() if wanted] or [Precision.FP16]
    if len(chosen) > 1:
        raise UsageError(
            f"an engine has one precision, not {' and '.join(chosen)}", "give one of the flags"
        )
    return chosen[0]


def _check_request(precision: Precision, request: QuantizeRequest, *, says_rest: bool) -> None:
    """Refuse options that say nothing to an engine of that precision.

    Raises:
        UsageError: There are some.
    """
    if precision not in QUANTIZED and (request.says_how or says_rest):
        raise UsageError(f"an engine in {precision} is not quantized", "add --int8 or --fp8")
    criteria = request.criteria
    if precision is Precision.FP32 and (criteria.data or criteria.quality) is not None:
        raise UsageError(
            "an engine in fp32 is what others are judged by", "leave the gate and --data out"
        )
