"""START HERE: the whole road in one function, from a trained network to a timed engine.

Each stage reads what the one before it wrote and knows nothing of the others; here they
meet. What each does is in :mod:`hrvit_deploy.pipeline.stages`, and in
:mod:`hrvit_deploy.pipeline.quantize` for eight bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.options import (
    QUANTIZED,
    BuildOptions,
    CalibrationOptions,
    ExportOptions,
    Precision,
    QuantizeOptions,
)
from hrvit_deploy.outputs import workplace
from hrvit_deploy.pipeline import quality_gate, stages
from hrvit_deploy.pipeline import quantize as quantize_stage
from hrvit_deploy.pipeline.quality_gate import QualityCriteria
from hrvit_deploy.pipeline.stages import CALIB_DIR, ENGINES_DIR, EXPORT_DIR
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import RunnerSpec

if TYPE_CHECKING:
    from hrvit_deploy.measure.latency.bench import BenchOptions, BenchReport
    from hrvit_deploy.trained import Trained

# Ranges settle with some dozens of images; more of them cost a newcomer minutes.
CALIBRATED_ON = 64


@dataclass(frozen=True)
class PipelineResult:
    """What :func:`run_pipeline` made and measured."""

    graph: Artefact
    engine: Artefact
    report: BenchReport


def run_pipeline(
    trained: Trained,
    options: ExportOptions,
    building: BuildOptions,
    timing: BenchOptions,
    progress: Progress,
    *,
    criteria: QualityCriteria,
    environment: dict[str, Any],
    images: Path | None = None,
    folders: tuple[Path, Path] = (EXPORT_DIR, ENGINES_DIR),
) -> PipelineResult:
    """Run the whole pipeline: export, verify, cast or quantize, check quality, build, time.

    Args:
        trained: From :func:`hrvit_deploy.pipeline.stages.load`.
        options: What graph to make of it.
        building: What engine to build from that.
        timing: How long to time the graph against eager PyTorch.
        progress: Shown each step.
        criteria: What graphs are compared and judged on.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.
        images: To calibrate on, where the engine is to multiply in eight bits; None for
            ``calib/images/``.
        folders: Where graphs and engines go.

    Raises:
        GateError: The graph does not answer as the network does, or loses more than it
            may in the engine's types; nothing is built then.
        InputError: There is nothing to calibrate on.
    """
    from hrvit_deploy.measure.latency.bench import bench
    from hrvit_deploy.measure.latency.worker import candidate_of

    exports, engines = folders
    graph = stages.export(
        trained, options, exports, criteria.images, progress, accept=criteria.accept
    )
    quality_gate.require_quality(graph, progress)
    typed = type_graph(
        graph, building.precision, criteria, progress, images=images, folder=exports
    )
    quality_gate.require_quality(typed, progress)
    engine = stages.build(typed, building, engines, criteria.images, progress)
    candidates = [candidate_of(spec) for spec in (stages.eager(graph), RunnerSpec(graph))]
    return PipelineResult(graph, engine, bench(candidates, timing, environment, progress))


def type_graph(
    graph: Artefact,
    precision: Precision,
    criteria: QualityCriteria,
    progress: Progress,
    *,
    images: Path | None,
    folder: Path,
) -> Artefact:
    """Make the graph in an engine's types and check it against float32."""
    if precision is graph.manifest.precision:
        return graph
    if precision not in QUANTIZED:
        return quantize_stage.cast_and_check(
            graph, precision, criteria, progress, folder=folder
        )
    calibration = CalibrationOptions(samples=CALIBRATED_ON)
    ranges = quantize_stage.find_ranges(
        graph,
        None,
        images,
        calibration,
        progress,
        folder=workplace(CALIB_DIR, folder, progress),
    )
    return quantize_stage.quantize(
        graph,
        ranges,
        QuantizeOptions(precision),
        criteria,
        progress,
        rest=Precision.FP16,
        folder=folder,
    )
