"""``build-trt``: an ONNX artefact to a TensorRT engine of one precision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hrvit_deploy import judging, pipeline, quantizing
from hrvit_deploy.artefact import Artefact, Kind, plain
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli import quantizing as quantized
from hrvit_deploy.cli import show
from hrvit_deploy.cli.choosing import given_or_newest
from hrvit_deploy.cli.console import Terminal, print_json
from hrvit_deploy.errors import UsageError
from hrvit_deploy.judging import Evidence
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
from hrvit_deploy.pipeline import ENGINES_DIR


def build_trt(
    model: Annotated[
        Path | None, typer.Argument(help="ONNX artefact; by default the newest in export/.")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Products in float32.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="In float16; the default.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="In bfloat16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="In INT8, the rest in float16.")] = False,
    fp8: Annotated[bool, typer.Option("--fp8", help="In FP8 (E4M3), likewise.")] = False,
    backend: arg.BackendName = Backend.AUTO,
    profile: Annotated[
        str, typer.Option("--profile", help="Smallest, usual, largest batch of a dynamic one.")
    ] = "1,1,8",
    workspace: Annotated[
        int,
        typer.Option("--workspace", min=0, help="Builder's scratch memory, MiB; 0 is its own."),
    ] = 0,
    optimization_level: Annotated[
        int | None, typer.Option("--optimization-level", help="0, a fast build, to 5.")
    ] = None,
    timing_cache: Annotated[
        bool, typer.Option("--timing-cache/--no-timing-cache", help="TensorRT only.")
    ] = True,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let float32 products use TF32.")
    ] = False,
    hardware_compatibility: Annotated[
        HardwareCompatibility,
        typer.Option("--hardware-compatibility", help="Other GPUs that may run it."),
    ] = HardwareCompatibility.NONE,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Let later TensorRT run it.")
    ] = False,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option("--compute-capability", help="GPU to build for, as 8.9; RTX; repeatable."),
    ] = None,
    refit: Annotated[bool, typer.Option("--refit", help="Keep weights replaceable.")] = False,
    strip_weights: Annotated[
        bool, typer.Option("--strip-weights", help="Leave them out, to be refitted.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="To calibrate and compare on; else calib/images/."),
    ] = None,
    samples: quantized.GateImages = None,
    data: quantized.DataDir = None,
    max_drop: quantized.MaxDrop = None,
    min_agreement: quantized.MinAgreement = None,
    ranges: quantized.RangesFile = None,
    method: quantized.MethodName = None,
    random_data: quantized.RandomData = False,
    rest: Annotated[
        Precision | None,
        typer.Option("--rest", help="Of INT8 and FP8: all else in fp16, the default, or fp32."),
    ] = None,
    extra: quantized.With = None,
    without: quantized.Without = None,
    keep: quantized.Keep = None,
    auto: quantized.Auto = False,
    variant: Annotated[
        str, typer.Option("--variant", help="Of a quantized graph without a sidecar.")
    ] = "b1",
    out: arg.OutDir = ENGINES_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Build a TensorRT engine and check that its types are those asked for."""
    asked = {
        Precision.FP32: fp32,
        Precision.FP16: fp16,
        Precision.BF16: bf16,
        Precision.INT8: int8,
        Precision.FP8: fp8,
    }
    chosen = [precision for precision, wanted in asked.items() if wanted] or [Precision.FP16]
    if len(chosen) > 1:
        raise UsageError(
            f"an engine has one precision, not {' and '.join(chosen)}", "give one of the flags"
        )
    options = BuildOptions(
        precision=chosen[0],
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
    judged = quantized.evidence(
        precision, data, images, samples, max_drop, min_agreement, compared=None
    )
    wish = quantized.Wish(
        QuantizeOptions(
            precision if precision in QUANTIZED else Precision.INT8,
            quantized.groups_of(extra, without),
            tuple(keep or ()),
        ),
        judged,
        quantized.calibration_of(method, images, random_data=random_data),
        ranges,
        images,
        quantized.check_rest(rest) or Precision.FP16,
        auto,
    )
    if precision not in QUANTIZED and (wish.says_more or rest is not None):
        raise UsageError(f"an engine in {precision} is not quantized", "add --int8 or --fp8")
    if precision is Precision.FP32 and (data is not None or judged.quality is not None):
        raise UsageError(
            "an engine in fp32 is what others are judged by", "leave the gate and --data out"
        )
    with Terminal() as terminal:
        if precision in QUANTIZED:
            graph = quantized.find_graph(model, precision, variant, terminal)
            graph = quantized.quantized_graph(graph, wish, terminal)
        else:
            graph = _float_graph(model, precision, judged, terminal)
        judging.require_quality(graph, judged, terminal)
        engine = pipeline.build(graph, options, out, judged.pictures, terminal)
    finish(engine, as_json=as_json)


def _float_graph(
    model: Path | None, precision: Precision, judged: Evidence, terminal: Terminal
) -> Artefact:
    """The graph named, or the newest the precision can be built from, typed and judged."""
    graph = given_or_newest(model, terminal, *{precision, Precision.FP32})
    if graph.manifest.kind is not Kind.ONNX or precision is Precision.FP32:
        return graph
    if graph.manifest.precision is Precision.FP32:
        return quantizing.type_and_judge(graph, precision, judged, terminal)
    if graph.manifest.precision is precision:
        return judging.judge_again(graph, quantizing.source_of(graph), judged, terminal)
    return graph


def finish(artefact: Artefact, *, as_json: bool) -> None:
    """Print a new artefact; one that missed its gates ends with 1."""
    parity, engine = artefact.manifest.parity, artefact.manifest.engine
    if as_json:
        shown: dict[str, Any] = {
            "artefact": artefact.path,
            "precision": artefact.manifest.precision,
            "parity": plain(parity) if parity else None,
            "engine": plain(engine),
        }
        if engine is not None:
            shown |= quantized.report(artefact)
        print_json(shown)
    else:
        show.printer().print(show.facts(show.written(artefact)))
    if parity is not None and not parity.passed:
        raise typer.Exit(1)
