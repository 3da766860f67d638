"""The deploy form against every other way to run the network on a GPU.

Usage: python -m benchmarks.gpu [--variants b1,b2,b3] [--time-limit SECONDS] [--out FILE.json]
       python -m benchmarks.gpu --prepare DIR      without a GPU: make all graphs for one
       python -m benchmarks.gpu --prepared DIR     with one, and perhaps without a network

Finds which candidates can run on this machine and times them in turn, the most telling
first; the others are listed with the reason. The rows of each group are on disk before the
next begins, and a run that was stopped goes on where it was. docs/explanation/measuring.md
says how it measures.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.candidates import CPU, CUDA
from benchmarks.gpu.charts import draw
from benchmarks.gpu.rounds import Deadline, Pace
from benchmarks.gpu.run import prepare, run
from benchmarks.gpu.schedule import Places, Plan, choose_entries, choose_shapes, quick
from benchmarks.gpu.tables import print_report
from hrvit_deploy.bindings import cuda_
from hrvit_deploy.cli.console import Terminal, print_error
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.model.variants import load_variant

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "gpu.json"
# Where what is not worth keeping goes: quick runs, and those without a GPU.
SCRATCH = Path("bench") / "gpu.json"
WORK = Path("bench") / "gpu"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, usual = parser.add_argument, Pace()
    add("--variants", default="b1", help="names, or .toml files, between commas")
    add("--cases", default="", help="such as classify-224x224,segment-512x512-b8; all if empty")
    add("--only", action="append", default=[], metavar="WORD", help="candidates named so")
    add("--rounds", type=int, default=usual.rounds)
    add("--turn", type=float, default=usual.turn_s, help="seconds of timed runs in a series")
    add(
        "--per-group",
        type=int,
        default=usual.per_group,
        help="candidates open at a time",
    )
    add("--time-limit", type=float, metavar="SECONDS", help="stop cleanly before that")
    add("--prepare", type=Path, metavar="DIR", help="make all graphs there, and end")
    add("--prepared", type=Path, metavar="DIR", help="take graphs from there, and make none")
    add("--trt8", type=Path, metavar="DIR", help="libraries and headers of TensorRT 8.5")
    add("--retry", action="store_true", help="try again what failed in a stopped run")
    add("--device", choices=(CUDA, CPU), default=CUDA, help="cpu: stand-ins, for a look at it")
    add("--quick", action="store_true", help=quick.__doc__)
    add("--work", type=Path, default=WORK, help="folder for engines and compiled code")
    add("--out", type=Path, help=f"{RESULTS}; {SCRATCH} for --quick and without a GPU")
    return parser.parse_args()


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the arguments ask for.

    Raises:
        HrvitDeployError: There is no such thing.
    """
    names = arguments.variants.split(",")
    device, trt8 = arguments.device, arguments.trt8 is not None
    plan = Plan(
        variants=tuple(load_variant(name) for name in names),
        entries=choose_entries(device, arguments.only, trt8=trt8),
        shapes=choose_shapes(arguments.cases),
        device=device,
        pace=replace(
            Pace(),
            rounds=arguments.rounds,
            turn_s=arguments.turn,
            per_group=arguments.per_group,
        ),
    )
    return quick(plan) if arguments.quick else plan


def out_of(arguments: argparse.Namespace) -> Path:
    """Where results go; the committed file is for a GPU's alone."""
    if arguments.out is not None:
        return Path(arguments.out)
    worth = arguments.device == CUDA and not arguments.quick and cuda_.gpu() is not None
    return RESULTS if worth else SCRATCH


def main() -> None:
    arguments = parse_arguments()
    # The clock runs from the start: a slot that ends does so whatever was slow.
    deadline = Deadline(arguments.time_limit)
    try:
        plan = plan_of(arguments)
        with Terminal() as progress:
            if arguments.prepare is not None:
                sys.exit(1 if prepare(plan, arguments.prepare, progress) else 0)
            places = Places(
                out_of(arguments), arguments.work, arguments.prepared, arguments.trt8
            )
            results = run(plan, places, progress, deadline=deadline, retry=arguments.retry)
            draw(results.report, places.out.with_suffix(".png"))
    except HrvitDeployError as error:
        print_error(error, as_json=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit("stopped: run it again to go on from the last finished timing group")
    print_report(results.report)
    print(f"written to {places.out}")


if __name__ == "__main__":
    main()
