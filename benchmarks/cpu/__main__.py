"""The deploy form against every other way to run the network where there is no GPU.

Usage: python -m benchmarks.cpu [--variant b1] [--sections cpu,rtx,scaling]
           [--runtimes onnxruntime,OpenVINO] [--out FILE.json]

cpu:     eager, torch.compile, TorchScript, and the plain graph and ours in onnxruntime and
         OpenVINO, timed in turn beside the machine's best product of two matrices.
rtx:     layers, build seconds and plan bytes of both graphs in TensorRT-RTX.
scaling: latency against pixels and against batch.

Each row is on disk before the next starts. A run that was stopped goes on where it was, if
nothing changed meanwhile. docs/explanation/measuring.md says how it measures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.common.cases import Case
from benchmarks.common.forms import Form
from benchmarks.common.reports import write_report
from benchmarks.cpu.candidates import EAGER, PEERS, Peer, Runtime, peers_in
from benchmarks.cpu.charts import draw_peers, draw_scaling
from benchmarks.cpu.engines import builds
from benchmarks.cpu.graphs import Graphs
from benchmarks.cpu.matmul_limit import Rate
from benchmarks.cpu.tables import print_tables
from benchmarks.cpu.targets import CPU, RTX, SCALING, judge, rows_of
from benchmarks.cpu.timing import Timing, measure
from hrvit_deploy.artefact import plain
from hrvit_deploy.cli.console import Terminal, print_error
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.measure.environment import describe_environment
from hrvit_deploy.measure.latency.bench import BenchOptions
from hrvit_deploy.model.variants import VARIANTS, Variant, load_variant
from hrvit_deploy.options import DECIDING, DEFAULT_SIZE, ImageSize, Task
from hrvit_deploy.progress import Progress

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "peers.json"
# What --quick measures is not worth keeping.
SCRATCH = Path("bench") / "peers.json"
PACKAGE = HERE.parent / "hrvit_deploy"
SCHEMA = 1
SCALING_PEERS = (
    EAGER,
    Peer(Form.PLAIN, Runtime.ONNXRUNTIME),
    Peer(Form.OURS, Runtime.ONNXRUNTIME),
    Peer(Form.OURS, Runtime.OPENVINO),
)
PIXELS, BATCH = "pixels", "batch"
# What may differ between two halves of one run.
FLEETING = ("date", "load")
FULL = BenchOptions(rounds=15, runs=5, warmup=3, timeout_s=1800)
SHORT = replace(FULL, rounds=5, runs=3, warmup=2)
QUICK = BenchOptions(rounds=2, runs=2, warmup=1, settle=1, pause_s=0.1)


def _squares(*sides: int) -> tuple[ImageSize, ...]:
    return tuple(ImageSize(side, side) for side in sides)


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Attributes:
        sizes: Of the cpu and rtx sections.
        products: Sides of the square matrices whose product is the machine's limit.
        builds: Engines built of each graph.
        pixels: Sizes of the scaling section, to segment.
        batches: Batches of the scaling section, to classify at the size above.
    """

    variant: Variant = VARIANTS["b1"]
    tasks: tuple[Task, ...] = DECIDING
    sizes: dict[Task, ImageSize] = field(default_factory=lambda: dict(DEFAULT_SIZE))
    peers: tuple[Peer, ...] = PEERS
    threads: int = 2
    timing: BenchOptions = FULL
    products: tuple[int, ...] = (1024, 1536, 2048)
    builds: int = 3
    pixels: tuple[ImageSize, ...] = _squares(224, 320, 512, 768, 1024)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    scaling_peers: tuple[Peer, ...] = SCALING_PEERS
    scaling_timing: BenchOptions = SHORT

    def cases(self) -> list[Case]:
        """Of the cpu and rtx sections."""
        return [Case(self.variant, task, self.sizes[task]) for task in self.tasks]

    def scaling(self) -> list[tuple[str, Case]]:
        """Which way each case grows, and the case."""
        size = self.sizes[Task.CLASSIFY]
        larger = [(PIXELS, Case(self.variant, Task.SEGMENT, size)) for size in self.pixels]
        more = [
            (BATCH, Case(self.variant, Task.CLASSIFY, size, batch)) for batch in self.batches
        ]
        return larger + more


def quick(plan: Plan) -> Plan:
    """The same road in minutes, on images and products too small to mean anything."""
    return replace(
        plan,
        sizes=dict.fromkeys(Task, ImageSize(64, 64)),
        peers=tuple(peer for peer in plan.peers if peer.runtime is not Runtime.COMPILE),
        threads=1,
        timing=QUICK,
        products=(128,),
        builds=1,
        pixels=_squares(64, 96),
        batches=(1, 2),
        scaling_timing=QUICK,
    )


class Results:
    """The JSON of a run, whole on disk after every row."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.environment = describe_environment(datetime.now(UTC).isoformat(timespec="seconds"))
        self.sections: dict[str, Any] = {}
        # Sections that a run has begun, until it is through with all of them.
        self.unfinished: list[str] = []
        if path.exists():
            held = json.loads(path.read_text(encoding="utf-8"))
            self.sections, self.unfinished = held["sections"], held["unfinished"]

    def begin(self, names: Sequence[str]) -> None:
        """Empty those sections, but for the rows that a stopped run of the same left."""
        mark = fingerprint(self.plan, self.environment)
        fresh = {
            "fingerprint": mark,
            "environment": self.environment,
            "variant": self.plan.variant.name,
            "threads": self.plan.threads,
        }
        for name in names:
            held = self.sections.get(name, {})
            if name not in self.unfinished or held.get("fingerprint") != mark:
                self.sections[name] = {**fresh, "rows": []}
        self.unfinished = sorted({*self.unfinished, *names})

    def finish(self, names: Sequence[str]) -> None:
        """Those sections are whole."""
        self.unfinished = [name for name in self.unfinished if name not in names]
        self.write()

    def write(self) -> None:
        report = {
            "schema": SCHEMA,
            "unfinished": self.unfinished,
            "plan": plain(self.plan),
            "targets": judge(self.sections),
            "sections": self.sections,
        }
        write_report(self.path, report)


def fingerprint(plan: Plan, environment: dict[str, Any]) -> str:
    """What two halves of one run must share: plan, machine, software and sources."""
    digest = hashlib.sha256()
    lasting = {name: value for name, value in environment.items() if name not in FLEETING}
    digest.update(json.dumps([plain(plan), lasting], sort_keys=True).encode())
    for source in sorted(
        (*PACKAGE.rglob("*.py"), *HERE.glob("common/*.py"), *HERE.glob("cpu/*.py"))
    ):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def measure_cpu(results: Results, made: Graphs) -> Iterator[None]:
    """A row to each task: all candidates, and the machine's limit."""
    plan, rows = results.plan, rows_of(results.sections, CPU)
    timing = Timing(plan.timing, plan.threads)
    for case in plan.cases():
        if not holds(rows, case.key):
            found = measure(
                case,
                plan.peers,
                plan.products,
                timing,
                made,
                environment=describe_environment(""),
            )
            rows.append(plain(found))
            yield


def measure_rtx(results: Results, made: Graphs) -> Iterator[None]:
    """A row to each build."""
    plan, rows = results.plan, rows_of(results.sections, RTX)
    for case in plan.cases():
        done = sum(holds([row], {"task": str(case.task)}) for row in rows)
        for build in builds(case, plan.builds, done, made):
            rows.append(plain(build))
            yield


def measure_scaling(results: Results, made: Graphs) -> Iterator[None]:
    """A row to each size and batch."""
    plan, rows = results.plan, rows_of(results.sections, SCALING)
    timing = Timing(plan.scaling_timing, plan.threads)
    rates = known_rates(results.sections)
    for axis, case in plan.scaling():
        if not holds(rows, {"axis": axis, **case.key}):
            found = measure(
                case,
                plan.scaling_peers,
                (),
                timing,
                made,
                environment=describe_environment(""),
                rates=rates,
            )
            rows.append(plain({"axis": axis, **found}))
            yield


SECTIONS = {CPU: measure_cpu, RTX: measure_rtx, SCALING: measure_scaling}


def holds(rows: list[dict[str, Any]], key: dict[str, Any]) -> bool:
    return any(key.items() <= row.items() for row in rows)


def known_rates(sections: dict[str, Any]) -> list[Rate]:
    """The best rates that the cpu section measured, if it did."""
    rates = [rate for case in rows_of(sections, CPU) for rate in case["rates"]]
    return sorted(rates, key=lambda rate: -rate["gflops"])[:1]


def run(plan: Plan, sections: tuple[str, ...], out: Path, progress: Progress) -> Results:
    """Measure those sections, the others staying as they are, and draw the charts.

    Raises:
        GateError: A float32 candidate does not answer as eager does.
    """
    results = Results(out, plan)
    results.begin(sections)
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        made = Graphs(Path(folder), progress)
        for name in sections:
            progress.note(f"Section {name}")
            for _ in SECTIONS[name](results, made):
                results.write()
    results.finish(sections)
    draw_peers(results.sections, out.with_suffix(".png"))
    draw_scaling(results.sections, out.with_name("scaling.png"))
    return results


Word = TypeVar("Word", bound=StrEnum)


def chosen(
    parser: argparse.ArgumentParser, text: str, kind: Iterable[Word]
) -> tuple[Word, ...]:
    """The words of a list with commas, or the end with what there is to choose from."""
    known = {str(word): word for word in kind}
    words = text.split(",")
    if unknown := set(words) - known.keys():
        parser.error(f"no {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    return tuple(known[word] for word in words)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", default="b1", help="a name, or a .toml file")
    parser.add_argument("--tasks", default=",".join(DECIDING))
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument(
        "--runtimes",
        default=",".join(dict.fromkeys(peer.runtime for peer in PEERS)),
        help="of the cpu section; eager always runs",
    )
    parser.add_argument("--rounds", type=int, default=Plan().timing.rounds)
    parser.add_argument("--quick", action="store_true", help=quick.__doc__)
    parser.add_argument("--out", type=Path, help=f"{RESULTS}; with --quick, {SCRATCH}")
    arguments = parser.parse_args()
    sections = tuple(arguments.sections.split(","))
    if unknown := set(sections) - SECTIONS.keys():
        parser.error(
            f"no section {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}"
        )
    try:
        plan = Plan(
            variant=load_variant(arguments.variant),
            tasks=chosen(parser, arguments.tasks, DECIDING),
            peers=peers_in(chosen(parser, arguments.runtimes, Runtime)),
            timing=replace(Plan().timing, rounds=arguments.rounds),
        )
        plan = quick(plan) if arguments.quick else plan
        with Terminal() as progress:
            out = arguments.out or (SCRATCH if arguments.quick else RESULTS)
            results = run(plan, sections, out, progress)
    except HrvitDeployError as error:
        print_error(error, as_json=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit("stopped: run it again to go on from the last finished row")
    print_tables(results.sections)


if __name__ == "__main__":
    main()
