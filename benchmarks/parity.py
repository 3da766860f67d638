"""How near every variant's graph comes to eager PyTorch, in every precision.

Usage: python benchmarks/parity.py [--only b1] [--out benchmarks/results/parity.json]

Exports each variant for each task, size and precision with random weights, compares the
graph with the eager network on crops of real photographs, and writes what was measured.
Each row is on disk before the next starts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import plain
from hrvit_deploy.measure.environment import describe_environment
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import (
    BFLOAT16_OPSET,
    DEFAULT_OPSET,
    ExportOptions,
    Precision,
    Task,
    parse_size,
)
from hrvit_deploy.progress import Silent
from hrvit_deploy.request import Request

RESULTS = Path(__file__).parent / "results" / "parity.json"
SIZES = ("224x224", "480x640", "512x1024")
NARROW_SIZE = "224x224"
IMAGES = 4


class Case(NamedTuple):
    variant: str
    task: Task
    size: str
    precision: Precision


def cases() -> Iterator[Case]:
    """Float32 at every size; narrow types, whose error does not hang on it, at one."""
    for variant in VARIANTS:
        for task in Task:
            for size in SIZES:
                yield Case(variant, task, size, Precision.FP32)
            for precision in (Precision.FP16, Precision.BF16):
                yield Case(variant, task, NARROW_SIZE, precision)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    opset = BFLOAT16_OPSET if case.precision is Precision.BF16 else DEFAULT_OPSET
    options = ExportOptions(parse_size(case.size), opset=opset, precision=case.precision)
    started = time.perf_counter()
    progress = Silent()
    trained = pipeline.load(Request(VARIANTS[case.variant], case.task), progress)
    pictures = pipeline.Pictures(limit=IMAGES)
    artefact = pipeline.export(trained, options, folder, pictures, progress)
    graph, parity = artefact.manifest.graph, artefact.manifest.parity
    assert graph is not None
    return {
        **case._asdict(),
        "seconds": time.perf_counter() - started,
        "nodes": sum(graph.nodes.values()),
        "simplified": graph.simplified,
        "float32_islands": len(graph.float32_islands),
        "bytes": artefact.path.stat().st_size,
        "parity": plain(parity),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="one variant")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    found: dict[str, Any] = {"environment": describe_environment(date), "results": []}
    for case in cases():
        if arguments.only in ("", case.variant):
            with tempfile.TemporaryDirectory() as folder:
                found["results"].append(measure(case, Path(folder)))
            arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            parity = found["results"][-1]["parity"]
            sys.stderr.write(f"{' '.join(case)}: {'ok' if parity['passed'] else 'MISSED'}\n")


if __name__ == "__main__":
    main()
