"""A graph to an engine, over whatever graph its precision needs in between."""

from __future__ import annotations

from pathlib import Path

from hrvit_deploy.artefact import Artefact, Kind
from hrvit_deploy.options import QUANTIZED, BuildOptions, Precision
from hrvit_deploy.outputs import workplace
from hrvit_deploy.pipeline import stages
from hrvit_deploy.pipeline.quality_gate import recheck, require_quality
from hrvit_deploy.pipeline.quantize import (
    QuantizeRequest,
    cast_and_check,
    quantize_request,
    source_of,
)
from hrvit_deploy.pipeline.stages import ENGINES_DIR, EXPORT_DIR
from hrvit_deploy.progress import Progress
from hrvit_deploy.verdict import accept


def build_from(
    graph: Artefact,
    options: BuildOptions,
    request: QuantizeRequest,
    progress: Progress,
    folder: Path = ENGINES_DIR,
) -> Artefact:
    """Build an engine from a graph that is cast or quantized, and checked, where it must be.

    Args:
        graph: In float32, or in the engine's precision.
        options: How to build.
        request: How to quantize for INT8 and FP8, and what quality is checked on.
        progress: Shown each step.
        folder: Where the plan is written.

    Raises:
        BuildError: The backend refused the network.
        GateError: The graph loses more than it may; nothing is built.
        PrecisionError: The engine's types are not those asked for.
        UsageError: The graph is quantized already, and the request says how to.
    """
    between = workplace(EXPORT_DIR, folder, progress)
    if options.precision in QUANTIZED:
        graph = quantize_request(graph, request, progress, between)
    else:
        graph = _typed(graph, options.precision, request, progress, between)
    require_quality(graph, progress)
    return stages.build(graph, options, folder, request.criteria.images, progress)


def _typed(
    graph: Artefact,
    precision: Precision,
    request: QuantizeRequest,
    progress: Progress,
    folder: Path,
) -> Artefact:
    """Return the graph in a floating type, its quality checked against float32."""
    if graph.manifest.kind is not Kind.ONNX or precision is Precision.FP32:
        return accept(graph, progress) if request.criteria.accept else graph
    if graph.manifest.precision is Precision.FP32:
        return cast_and_check(graph, precision, request.criteria, progress, folder=folder)
    if graph.manifest.precision is precision:
        return recheck(graph, source_of(graph), request.criteria, progress)
    return graph
