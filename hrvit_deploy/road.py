"""START HERE: the whole road in one function, from a trained network to a timed engine.

Each stage reads what the one before it wrote and knows nothing of the others; here they
meet. What each does is in :mod:`hrvit_deploy.pipeline`, and in
:mod:`hrvit_deploy.quantizing` for eight bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrvit_deploy import judging, pipeline, quantizing
from hrvit_deploy.artefact import Artefact
from hrvit_deploy.judging import Evidence
from hrvit_deploy.options import (
    QUANTIZED,
    BuildOptions,
    CalibrationOptions,
    ExportOptions,
    Precision,
    QuantizeOptions,
)
from hrvit_deploy.pipeline import ENGINES_DIR, EXPORT_DIR
from hrvit_deploy.progress import Progress

if TYPE_CHECKING:
    from hrvit_deploy.measure.bench import BenchOptions, BenchReport
    from hrvit_deploy.trained import Trained

# Ranges settle with some dozens of images; more of them cost a newcomer minutes.
CALIBRATED_ON = 64


@dataclass(frozen=True)
class Road:
    """What :func:`run_road` made and measured."""

    graph: Artefact
    engine: Artefact
    report: BenchReport


def run_road(
    trained: Trained,
    options: ExportOptions,
    building: BuildOptions,
    timing: BenchOptions,
    progress: Progress,
    *,
    evidence: Evidence,
    environment: dict[str, Any],
    images: Path | None = None,
    folders: tuple[Path, Path] = (EXPORT_DIR, ENGINES_DIR),
) -> Road:
    """The whole road: export, verify, narrow or quantize, judge, build, time.

    Args:
        trained: From :func:`hrvit_deploy.pipeline.load`.
        options: What graph to make of it.
        building: What engine to build from that.
        timing: How long to time the graph against eager PyTorch.
        progress: Told of each step.
        evidence: What graphs are compared and judged on.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.
        images: To calibrate on, where the engine is to multiply in eight bits; None for
            ``calib/images/``.
        folders: Where graphs and engines go.

    Raises:
        GateError: The graph does not answer as the network does, or loses more than it
            may in the engine's types; nothing is built then.
        InputError: There is nothing to calibrate on.
    """
    from hrvit_deploy.measure.bench import bench

    exports, engines = folders
    graph = pipeline.export(trained, options, exports, evidence.pictures, progress)
    pipeline.require_parity(graph)
    typed = type_graph(
        graph, building.precision, evidence, progress, images=images, folder=exports
    )
    judging.require_quality(typed, evidence, progress)
    engine = pipeline.build(typed, building, engines, evidence.pictures, progress)
    contenders = [pipeline.contender_for(graph, eager=True), pipeline.contender_for(graph)]
    return Road(graph, engine, bench(contenders, timing, environment, progress))


def type_graph(
    graph: Artefact,
    precision: Precision,
    evidence: Evidence,
    progress: Progress,
    *,
    images: Path | None,
    folder: Path,
) -> Artefact:
    """A float32 graph in the types of an engine of that precision, judged against itself."""
    if precision is graph.manifest.precision:
        return graph
    if precision not in QUANTIZED:
        return quantizing.type_and_judge(graph, precision, evidence, progress, folder=folder)
    calibration = CalibrationOptions(samples=CALIBRATED_ON)
    ranges = quantizing.find_ranges(graph, None, images, calibration, progress)
    return quantizing.quantize(
        graph,
        ranges,
        QuantizeOptions(precision),
        evidence,
        progress,
        rest=Precision.FP16,
        folder=folder,
    )
