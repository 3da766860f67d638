"""Candidates timed in turn, round by round, each in a process of its own.

Thread pools go on spinning after their work is done. In one process, or without a pause,
they slow the next candidate down by up to a half.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrvit_deploy.errors import UsageError
from hrvit_deploy.measure.latency.rounds import (
    Candidate,
    Participant,
    Turn,
    take_rounds,
)
from hrvit_deploy.progress import Progress

# Load average per core above which other work disturbs the timing.
BUSY = 0.5


@dataclass(frozen=True)
class BenchOptions:
    """How long and in what portions.

    Attributes:
        rounds: Turns each candidate takes.
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
        p50_ms: Median latency of one run, in milliseconds; ``p90_ms``, ``p99_ms`` and
            ``mean_ms`` are the other percentiles and the mean.
        images_per_s: Images per run over the mean latency.
        peak_mib: Most memory it used where it ran: resident in its process on a CPU, taken
            from the GPU on one.
        ratio: Median over the first candidate's median.
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


def bench(
    candidates: Sequence[Candidate],
    options: BenchOptions,
    environment: dict[str, Any],
    progress: Progress,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> BenchReport:
    """Time candidates against each other.

    A candidate that fails or dies leaves its reason in its row, and the others go on.
    However this ends, no process is left behind.

    Args:
        candidates: Those of :func:`hrvit_deploy.measure.latency.worker.candidate_of`, or of
            another worker; the first is the baseline of all ratios.
        options: Rounds, runs and pauses.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.
        progress: Advanced once a turn.
        sleep: Waits that many seconds.

    Raises:
        UsageError: No candidates, or two of one name.
    """
    names = [candidate.name for candidate in candidates]
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"cannot tell candidates apart: {', '.join(names) or 'none given'}",
            "give at least one artefact, and each once",
        )
    _warn_if_busy(environment, progress)
    turn = Turn(options.settle, options.runs, options.pause_s, options.timeout_s)
    with ExitStack() as processes:
        participants = _open_all(candidates, options, progress, processes)
        step = progress.start("Timing", options.rounds * len(participants))
        take_rounds(participants, turn, options.rounds, step, sleep=sleep)
        step.finish()
    return BenchReport(environment, options, _summarize(participants))


def _warn_if_busy(environment: dict[str, Any], progress: Progress) -> None:
    load, cores = environment.get("load"), environment.get("usable_cores")
    if load is not None and cores is not None and load > BUSY * cores:
        progress.warn(
            f"the machine is busy (load {load} on {cores} cores): trust neither the"
            " milliseconds nor small differences"
        )


def _open_all(
    candidates: Sequence[Candidate],
    options: BenchOptions,
    progress: Progress,
    processes: ExitStack,
) -> list[Participant]:
    warmup = Turn(options.warmup, 0, 0.0, options.timeout_s)
    step = progress.start("Opening and warming up", len(candidates))
    participants = []
    for candidate in candidates:
        participant = Participant(candidate)
        participant.open(processes, warmup=warmup, timeout_s=options.timeout_s)
        if participant.error is not None:
            progress.warn(f"{candidate.name} is out: {participant.error.message}")
        participants.append(participant)
        step.advance()
    step.finish()
    return participants


def _summarize(participants: Sequence[Participant]) -> tuple[BenchResult, ...]:
    first = participants[0]
    base_ms = None if first.error is not None else float(np.median(first.times_ms))
    return tuple(_result(participant, base_ms) for participant in participants)


def _result(participant: Participant, base_ms: float | None) -> BenchResult:
    name = participant.name
    if participant.error is not None:
        # A row of some rounds only would look like a measurement of all.
        return BenchResult(name, error=participant.error.message, hint=participant.error.hint)
    times_ms, opened = participant.times_ms, participant.opened
    p50, p90, p99 = (float(value) for value in np.percentile(times_ms, [50, 90, 99]))
    mean_ms = float(np.mean(times_ms))
    return BenchResult(
        name=name,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean_ms,
        images_per_s=opened["batch"] * 1000 / mean_ms,
        peak_mib=participant.peak_mib if opened["device"] == "cpu" else participant.gpu_mib,
        ratio=None if base_ms is None else p50 / base_ms,
        batch=opened["batch"],
        device=opened["device"],
        open_s=opened["open_s"],
        settings=opened["settings"],
        times_ms=tuple(times_ms),
    )
