"""Contenders timed in turn, round by round, each in a process of its own.

Thread pools go on spinning after their work is done. In one process, or without a pause,
they slow the next contender down by up to a half.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrvit_deploy.errors import HrvitDeployError, UsageError
from hrvit_deploy.measure.supervise import Worker
from hrvit_deploy.progress import Progress, Step
from hrvit_deploy.runners.contender import Contender

# Load average per core above which other work disturbs the timing.
BUSY = 0.5
FACTORY = "hrvit_deploy.measure.open:open_contender"


@dataclass(frozen=True)
class BenchOptions:
    """How long and in what portions.

    Attributes:
        rounds: Turns each contender takes.
        runs: Timed runs per turn.
        warmup: Untimed runs after opening; the first compiles and tunes.
        settle: Untimed runs at the start of each turn, which wake threads and clocks.
        pause_s: Idle seconds before each turn, for other threads to stop spinning.
        timeout_s: Longest wait for opening, warming up or one turn, in seconds.
    """

    rounds: int = 10
    runs: int = 10
    warmup: int = 5
    settle: int = 2
    pause_s: float = 0.5
    timeout_s: float = 900.0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.runs < 1:
            raise UsageError(
                f"{self.rounds} rounds of {self.runs} runs time nothing",
                "give at least one of each",
            )
        if min(self.warmup, self.settle, self.pause_s) < 0 or self.timeout_s <= 0:
            raise UsageError("a benchmark cannot wait for less than no time", "give 0 or more")


@dataclass(frozen=True)
class BenchResult:
    """One row; numbers are None where ``error`` says why.

    Attributes:
        p50_ms: Median latency of one run, in milliseconds; others likewise.
        images_per_s: Images per run over the mean latency.
        peak_mib: Most memory it used where it ran: resident in its process on a CPU, taken
            from the GPU on one.
        ratio: Median over the first contender's median.
        times_ms: Every timed run, in order.
        open_s: Seconds to open it, without warm-up.
        settings: What its speed depends on, as its runner says.
    """

    name: str
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    images_per_s: float | None = None
    peak_mib: float | None = None
    ratio: float | None = None
    batch: int | None = None
    device: str = ""
    open_s: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    hint: str = ""
    times_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class BenchReport:
    """All rows in the order given, and where they were measured."""

    environment: dict[str, Any]
    options: BenchOptions
    results: tuple[BenchResult, ...]


@dataclass
class _Entrant:
    """A contender on its way through the benchmark."""

    contender: Contender
    worker: Worker | None = None
    opened: dict[str, Any] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)
    peak_mib: float | None = None
    gpu_mib: float | None = None
    error: HrvitDeployError | None = None

    def open(self, worker: Worker, factory: str, options: BenchOptions) -> None:
        """Open the contender in that worker and warm it up."""
        self.worker = worker
        with self._or_out():
            self.opened = worker.open(self.contender, factory, options.timeout_s)
        self.turn(settle=options.warmup, count=0, timeout_s=options.timeout_s)

    def turn(self, *, settle: int, count: int, timeout_s: float) -> None:
        """Untimed, then timed runs; nothing once it is out."""
        if self.worker is None or self.error is not None:
            return
        with self._or_out():
            answer = self.worker.ask({"settle": settle, "count": count}, timeout_s)
            self.times_ms += answer["times_ms"]
            self.peak_mib, self.gpu_mib = answer["peak_mib"], answer["gpu_mib"]

    @contextmanager
    def _or_out(self) -> Iterator[None]:
        """What fails in here is the row's reason, and ends its process."""
        try:
            yield
        except HrvitDeployError as error:
            self.error = error
            if self.worker is not None:
                self.worker.close()


def bench(
    contenders: Sequence[Contender],
    options: BenchOptions,
    environment: dict[str, Any],
    progress: Progress,
    *,
    factory: str = FACTORY,
    sleep: Callable[[float], None] = time.sleep,
) -> BenchReport:
    """Time contenders against each other.

    A contender that fails or dies leaves its reason in its row, and the others go on.
    However this ends, no process is left behind.

    Args:
        contenders: The first is what the others are held against.
        options: Rounds, runs and pauses.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.
        progress: Advanced once a turn.
        factory: ``module:function`` that opens a contender in its worker.
        sleep: Waits that many seconds.

    Raises:
        UsageError: No contenders, or two of one name.
    """
    names = [contender.name for contender in contenders]
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"cannot tell contenders apart: {', '.join(names) or 'none given'}",
            "give at least one artefact, and each once",
        )
    _warn_if_busy(environment, progress)
    entrants = [_Entrant(contender) for contender in contenders]
    with ExitStack() as processes:
        _open_all(entrants, options, progress, factory, processes)
        step = progress.start("Timing", options.rounds * len(entrants))
        for number in range(options.rounds):
            # Back and forth, so that none always runs in the wake of the same other.
            order = entrants if number % 2 == 0 else entrants[::-1]
            _run_round(order, options, step, sleep)
        step.finish()
    return BenchReport(environment, options, _summarize(entrants))


def _warn_if_busy(environment: dict[str, Any], progress: Progress) -> None:
    load, cores = environment.get("load"), environment.get("usable_cores")
    if load is not None and cores is not None and load > BUSY * cores:
        progress.warn(
            f"the machine is busy (load {load} on {cores} cores): trust neither the"
            " milliseconds nor small differences"
        )


def _open_all(
    entrants: Sequence[_Entrant],
    options: BenchOptions,
    progress: Progress,
    factory: str,
    processes: ExitStack,
) -> None:
    step = progress.start("Opening and warming up", len(entrants))
    for entrant in entrants:
        worker = processes.enter_context(Worker(entrant.contender))
        entrant.open(worker, factory, options)
        if entrant.error is not None:
            progress.warn(f"{entrant.contender.name} is out: {entrant.error.message}")
        step.advance()
    step.finish()


def _run_round(
    entrants: Sequence[_Entrant],
    options: BenchOptions,
    step: Step,
    sleep: Callable[[float], None],
) -> None:
    for entrant in entrants:
        if entrant.error is None:
            sleep(options.pause_s)
            entrant.turn(settle=options.settle, count=options.runs, timeout_s=options.timeout_s)
        step.advance()


def _summarize(entrants: Sequence[_Entrant]) -> tuple[BenchResult, ...]:
    first = entrants[0]
    base_ms = None if first.error is not None else float(np.median(first.times_ms))
    return tuple(_result(entrant, base_ms) for entrant in entrants)


def _result(entrant: _Entrant, base_ms: float | None) -> BenchResult:
    name = entrant.contender.name
    if entrant.error is not None:
        # A row of some rounds only would look like a measurement of all.
        return BenchResult(name, error=entrant.error.message, hint=entrant.error.hint)
    times_ms, opened = entrant.times_ms, entrant.opened
    p50, p90, p99 = (float(value) for value in np.percentile(times_ms, [50, 90, 99]))
    mean_ms = float(np.mean(times_ms))
    return BenchResult(
        name=name,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean_ms,
        images_per_s=opened["batch"] * 1000 / mean_ms,
        peak_mib=entrant.peak_mib if opened["device"] == "cpu" else entrant.gpu_mib,
        ratio=None if base_ms is None else p50 / base_ms,
        batch=opened["batch"],
        device=opened["device"],
        open_s=opened["open_s"],
        settings=opened["settings"],
        times_ms=tuple(times_ms),
    )
