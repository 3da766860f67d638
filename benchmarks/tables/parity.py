"""How near every variant's graph comes to eager PyTorch, in every precision.

Usage: python -m benchmarks.tables.parity [--variant b1] [--precision fp16] [--out FILE.json]

Exports each variant for each task, size and precision with random weights, compares the
graph with the eager network on crops of real photographs, and writes what was measured.
Each row is on disk before the next starts. With --variant or --precision, rows of others
that are in the file stay.
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

from hrvit_deploy.artefact import plain
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.environment import describe_environment
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import (
    BFLOAT16_OPSET,
    DECIDING,
    DEFAULT_OPSET,
    ExportOptions,
    Precision,
    Task,
    parse_size,
)
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress

RESULTS = Path(__file__).parents[1] / "results" / "parity.json"
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
        for task in DECIDING:
            for size in SIZES:
                yield Case(variant, task, size, Precision.FP32)
            for precision in (Precision.FP16, Precision.BF16):
                yield Case(variant, task, NARROW_SIZE, precision)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    opset = BFLOAT16_OPSET if case.precision is Precision.BF16 else DEFAULT_OPSET
    options = ExportOptions(parse_size(case.size), opset=opset, precision=case.precision)
    started = time.perf_counter()
    progress = SilentProgress()
    trained = stages.load(NetworkSpec(VARIANTS[case.variant], case.task), progress)
    pictures = ImageSource(limit=IMAGES)
    artefact = stages.export(trained, options, folder, pictures, progress)
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
    parser.add_argument("--variant", default="", help="this one alone")
    parser.add_argument("--precision", default="", help="this one alone")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    chosen = [
        case
        for case in cases()
        if arguments.variant in ("", case.variant)
        and arguments.precision in ("", case.precision)
    ]
    rows = {case: row for case, row in read_rows(arguments.out).items() if case not in chosen}
    environment = describe_environment(date)
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows[case] = measure(case, Path(folder))
        ordered = [rows[known] for known in cases() if known in rows]
        found = {"environment": environment, "results": ordered}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        passed = rows[case]["parity"]["passed"]
        sys.stderr.write(f"{' '.join(case)}: {'ok' if passed else 'MISSED'}\n")


def read_rows(path: Path) -> dict[Case, dict[str, Any]]:
    """The rows measured before, by case."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    return {Case(*(row[field] for field in Case._fields)): row for row in rows}


if __name__ == "__main__":
    main()
