"""Which precision to run in on a CPU: latency and accuracy of each, in every runtime.

Usage: python -m benchmarks.tables.precisions [--scenes 40] [--sizes 256x256,512x512]
           [--out FILE.json]

HRViT-b1 trained on digit scenes (examples/digit_scenes) as float32, float16 and INT8 graphs,
in onnxruntime and OpenVINO, the latter in float32 and in what the processor is fastest in.
They are timed in turn beside eager PyTorch, then judged on scenes that were held out. Each
size is on disk before the next starts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common.reports import write_report
from benchmarks.tables.int8 import CALIBRATION_SCENES, CHECKPOINT, make_scenes
from hrvit_deploy.artefact import Artefact, plain
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, evaluate_artefact
from hrvit_deploy.measure.environment import describe_environment
from hrvit_deploy.measure.latency.bench import BenchOptions, BenchResult, bench
from hrvit_deploy.measure.latency.worker import candidate_of
from hrvit_deploy.measure.parity.gates import QualityLimits
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import (
    CalibrationOptions,
    ExportOptions,
    ImageSize,
    Precision,
    QuantizeOptions,
    parse_size,
)
from hrvit_deploy.pipeline import quantize as quantize_stage
from hrvit_deploy.pipeline import stages
from hrvit_deploy.pipeline.quality_gate import QualityCriteria
from hrvit_deploy.progress import Progress
from hrvit_deploy.quantization.calibration.stage import calibrate_artefact
from hrvit_deploy.runners.spec import (
    Implementation,
    InferencePrecision,
    Provider,
    RunnerSpec,
    RunOptions,
)

RESULTS = Path(__file__).parents[1] / "results" / "precisions.json"
SIZES = "256x256,512x512"
TIMING = BenchOptions(rounds=15, runs=5, warmup=3)
QUICK = BenchOptions(rounds=1, runs=1, warmup=1, settle=0, pause_s=0)
THREADS = 2
FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8
F32, DEVICE = InferencePrecision


@dataclass(frozen=True)
class Way:
    """One row: a graph, and what runs it; eager PyTorch where there is no graph."""

    graph: Precision | None
    provider: Provider = Provider.CPU
    inference: InferencePrecision = F32

    @property
    def name(self) -> str:
        """``int8 graph, OpenVINO default``."""
        if self.graph is None:
            return "eager"
        if self.provider is Provider.CPU:
            return f"{self.graph} graph, onnxruntime"
        word = "default" if self.inference is DEVICE else str(self.inference)
        return f"{self.graph} graph, OpenVINO {word}"


# The first is what the others are held against.
WAYS = (
    Way(None),
    *(Way(graph) for graph in (FP32, FP16, INT8)),
    *(
        Way(graph, Provider.OPENVINO, inference)
        for graph, inference in ((FP32, F32), (FP32, DEVICE), (INT8, F32), (INT8, DEVICE))
    ),
)


def make_graphs(
    size: ImageSize, folder: Path, data: Path, progress: Progress
) -> dict[Precision, Artefact]:
    """The trained network in every precision, ranges from training scenes."""
    pictures = ImageSource(data / "images" / "validation", 8)
    trained = stages.load(NetworkSpec(VARIANTS["b1"], checkpoint=CHECKPOINT), progress)
    graph = stages.export(trained, ExportOptions(size), folder, pictures, progress)
    half, _ = quantize_stage.find_or_cast(graph, FP16, pictures, progress, folder=folder)
    ranges = calibrate_artefact(
        graph,
        data / "images" / "training",
        CalibrationOptions(),
        folder / "calib",
        progress,
    )
    # Judged below, by labels.
    lenient = QualityCriteria(None, pictures, quality=QualityLimits(1, 0))
    eight = quantize_stage.quantize(
        graph, ranges, QuantizeOptions(INT8), lenient, progress, folder=folder
    )
    return {FP32: graph, FP16: half, INT8: eight}


def options_of(way: Way) -> RunOptions:
    return RunOptions(
        provider=way.provider,
        implementation=Implementation.EAGER if way.graph is None else Implementation.ARTEFACT,
        inference_precision=way.inference,
        threads=THREADS,
    )


def spec_of(way: Way, made: dict[Precision, Artefact]) -> RunnerSpec:
    return RunnerSpec(made[way.graph or FP32], options_of(way), name=way.name)


def measure(
    size: ImageSize, scenes: int, timing: BenchOptions, progress: Progress
) -> Iterator[dict[str, Any]]:
    """A row to each way, at one size."""
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as name:
        folder = Path(name)
        data = folder / "scenes"
        make_scenes(data, scenes, size)
        made = make_graphs(size, folder, data, progress)
        candidates = [candidate_of(spec_of(way, made)) for way in WAYS]
        report = bench(candidates, timing, describe_environment(""), progress)
        for way, result in zip(WAYS, report.results, strict=True):
            yield {"name": way.name, **timed(result), **judged(way, made, data, progress)}


def timed(result: BenchResult) -> dict[str, Any]:
    return {
        "median_ms": result.p50_ms,
        "p90_ms": result.p90_ms,
        "ratio": result.ratio,
        "peak_mib": result.peak_mib,
        "settings": result.settings,
        "error": result.error,
    }


def judged(
    way: Way, made: dict[Precision, Artefact], data: Path, progress: Progress
) -> dict[str, Any]:
    found = evaluate_artefact(
        made[way.graph or FP32], data, EvaluateOptions(), progress, run=options_of(way)
    )
    return {"miou": found.score, "images": found.images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--quick", action="store_true", help="times that mean nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": plain(describe_environment("")),
        "threads": THREADS,
        "calibration_scenes": CALIBRATION_SCENES,
        "sizes": {},
    }
    timing = QUICK if arguments.quick else TIMING
    with Terminal() as progress:
        for size in map(parse_size, arguments.sizes.split(",")):
            rows = list(measure(size, arguments.scenes, timing, progress))
            report["sizes"][str(size)] = rows
            write_report(arguments.out, report)


if __name__ == "__main__":
    main()
