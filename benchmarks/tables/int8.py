"""What INT8 and FP8 cost the trained network: accuracy, size, and under which calibration.

Usage: python -m benchmarks.tables.int8 [--scenes 100] [--out FILE.json]

HRViT-b1 trained on digit scenes (examples/digit_scenes) is judged on scenes that were held
out: eager, as float32 and float16 graphs, and quantized under every calibration method, with
the rest in float32 and in float16, and with --auto under a gate of a tenth of a point. Ranges
come from training scenes. Each row is on disk before the next starts.
"""

from __future__ import annotations

import argparse
import json
import runpy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common.reports import write_report
from hrvit_deploy.artefact import Artefact, plain
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, evaluate_artefact
from hrvit_deploy.measure.environment import describe_environment
from hrvit_deploy.measure.parity.gates import QualityLimits
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import (
    DEFAULT_GROUPS,
    DEFAULT_METHOD,
    CalibrationOptions,
    ExportOptions,
    Group,
    ImageSize,
    Method,
    Precision,
    QuantizeOptions,
)
from hrvit_deploy.pipeline import quantize as quantize_stage
from hrvit_deploy.pipeline import stages
from hrvit_deploy.pipeline.quality_gate import QualityCriteria
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.calibration.collect import collect, ranges_from
from hrvit_deploy.quantization.calibration.images import open_pictures
from hrvit_deploy.quantization.calibration.ranges import Ranges, write_ranges
from hrvit_deploy.runners.spec import Implementation, RunOptions

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "int8.json"
SCENES = HERE.parent / "examples" / "digit_scenes"
CHECKPOINT = SCENES / "hrvit_b1.safetensors"
SIZE = ImageSize(256, 256)
CALIBRATION_SCENES = 64
TIGHT = QualityLimits(drop=0.001, agreement=0.999)

Row = dict[str, Any]


class Trial:
    """The trained network's graph, its data, and what was measured of them."""

    def __init__(self, folder: Path, scenes: int) -> None:
        self.folder, self.progress = folder, SilentProgress()
        self.data = folder / "scenes"
        make_scenes(self.data, scenes)
        self.images = ImageSource(self.data / "images" / "validation", 8)
        self.criteria = QualityCriteria(self.data, self.images)
        trained = stages.load(NetworkSpec(VARIANTS["b1"], checkpoint=CHECKPOINT), self.progress)
        self.graph = stages.export(
            trained, ExportOptions(SIZE), folder, self.images, self.progress
        )
        place = self.data / "images" / "training"
        scenes_seen = open_pictures(
            place, CalibrationOptions(), self.graph.manifest.preparation
        )
        self.histograms = collect(self.graph, scenes_seen, self.progress)
        self.measured = Ranges(
            model_sha256=self.graph.manifest.sha256,
            model=self.graph.path.name,
            method=DEFAULT_METHOD,
            images=scenes_seen.count,
            images_sha256=scenes_seen.sha256,
            random_data=False,
            percentile=CalibrationOptions().percentile,
        )

    def row(self, name: str, artefact: Artefact, *, eager: bool = False) -> Row:
        started = time.perf_counter()
        by = Implementation.EAGER if eager else Implementation.ARTEFACT
        found = evaluate_artefact(
            artefact,
            self.data,
            EvaluateOptions(),
            self.progress,
            run=RunOptions(implementation=by),
        )
        quantization = None if eager else artefact.manifest.quantization
        return {
            "name": name,
            "miou": found.score,
            "pixel_accuracy": found.figures["pixel_accuracy"],
            "images": found.images,
            "runner": found.runner,
            "bytes": None if eager else artefact.path.stat().st_size,
            "products": quantization.products if quantization else 0,
            "kept_in_float": list(quantization.kept) if quantization else [],
            "quantization": plain(quantization),
            "seconds": time.perf_counter() - started,
        }

    def ranges(self, method: Method) -> tuple[Path, Ranges]:
        """By that method, from histograms that all methods share."""
        amax = ranges_from(self.histograms, CalibrationOptions(method))
        file = self.folder / "calib" / f"{method}.json"
        held = replace(self.measured, method=method, amax=amax)
        write_ranges(file, held)
        return file, held

    def quantized(
        self,
        method: Method,
        *,
        rest: Precision = Precision.FP32,
        precision: Precision = Precision.INT8,
        groups: tuple[Group, ...] = DEFAULT_GROUPS,
        auto: bool = False,
    ) -> Artefact:
        ranges = self.ranges(method)
        # The gate is of no interest here but for --auto: rows are judged once, by row().
        judged = (
            replace(self.criteria, quality=TIGHT)
            if auto
            else replace(self.criteria, data=None, quality=QualityLimits(1, 0))
        )
        return quantize_stage.quantize(
            self.graph,
            ranges,
            QuantizeOptions(precision, groups),
            judged,
            self.progress,
            rest=rest,
            auto=auto,
            folder=self.folder,
        )

    def rows(self) -> Iterator[Row]:
        half, full = Precision.FP16, Precision.FP32
        yield self.row("eager", self.graph, eager=True)
        yield self.row("fp32", self.graph)
        typed, _ = quantize_stage.find_or_cast(self.graph, half, self.images, self.progress)
        yield self.row("fp16", typed)
        for method in Method:
            yield self.row(f"int8 {method}", self.quantized(method))
        best = DEFAULT_METHOD
        yield self.row(f"int8 {best}, the rest fp16", self.quantized(best, rest=half))
        for group in (Group.DEPTHWISE, Group.ATTENTION, Group.CLASSIFIER):
            made = self.quantized(best, groups=(*DEFAULT_GROUPS, group))
            yield self.row(f"int8 {best}, {group} too", made)
        yield self.row(f"int8 {best} --auto at 0.1 points", self.quantized(best, auto=True))
        yield self.row(
            f"fp8 {best}, the rest {full}", self.quantized(best, precision=Precision.FP8)
        )


def make_scenes(folder: Path, count: int, size: ImageSize = SIZE) -> None:
    """So many held-out scenes to judge on, and training scenes to calibrate on."""
    scenes = runpy.run_path(str(SCENES / "scenes.py"))
    scenes["write_scenes"](folder, count, size)
    training = scenes["Split"].TRAINING
    scenes["write_scenes"](folder, CALIBRATION_SCENES, size, split=training)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": plain(describe_environment("")),
        "checkpoint": json.loads(CHECKPOINT.with_suffix(".json").read_text())["sha256"],
        "calibration_scenes": CALIBRATION_SCENES,
        "rows": [],
    }
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as name:
        for row in Trial(Path(name), arguments.scenes).rows():
            report["rows"].append(row)
            write_report(arguments.out, report)
            print(f"{row['name']:40} {row['miou']:.4f} {row['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
