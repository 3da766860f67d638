"""Candidates of one case timed a few at a time, in turn, beside the same anchor.

A process that stays open keeps its memory on the GPU, and a hundred of them would not fit.
So a case is timed in groups of a few candidates each, interleaved round by round, with the
anchor in every one: what a candidate gains is its ratio to the anchor of its own group. The
rows of a group are on disk before the next one opens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.gpu.candidates import DEVICE_MS, REFERENCE, SERIES, WORKER, Entry, Job
from benchmarks.gpu.timing import Times, read_book
from hrvit_deploy.artefact import plain
from hrvit_deploy.measure.latency.rounds import Candidate, Participant, Turn, take_rounds
from hrvit_deploy.progress import Progress

PERCENTILES = (50, 90, 99)
# Rounds that a group takes whatever the time: of fewer, a median says little.
FEWEST_ROUNDS = 3
# What a turn takes besides its timed runs, in seconds: settling, copies, the pause.
TURN_OVERHEAD_S = 1.0
OUT_OF_MEMORY = ("out of memory", "OutOfMemory", "OUT_OF_MEMORY", "Failed to allocate memory")


@dataclass(frozen=True)
class Pace:
    """How long a timing group is.

    Attributes:
        rounds: Turns that each candidate takes.
        turn_s: How long the timed runs of one series of a turn take, in seconds.
        per_group: Candidates in a timing group, the anchor among them.
        pause_s: Idle seconds before each turn.
        timeout_s: Longest wait for one candidate to be built and opened, in seconds.
    """

    rounds: int = 10
    turn_s: float = 0.4
    per_group: int = 8
    pause_s: float = 0.1
    timeout_s: float = 1800.0

    @property
    def turn(self) -> Turn:
        """One timed run of a worker, which is a whole turn."""
        return Turn(settle=0, count=1, pause_s=self.pause_s, timeout_s=self.timeout_s)

    def turn_total_s(self) -> float:
        """A turn has two series: with copies and without."""
        return 2 * self.turn_s + self.pause_s + TURN_OVERHEAD_S


class Deadline:
    """How much of the time given is left."""

    def __init__(
        self, limit_s: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = None if limit_s is None else clock() + limit_s

    @property
    def left_s(self) -> float:
        """Infinite without a limit."""
        return float("inf") if self._end is None else self._end - self._clock()


@dataclass(frozen=True)
class Row:
    """What was measured of one candidate; None where ``error`` says why.

    Attributes:
        group: Which of the case's timing groups it was timed in.
        times: Name of each series of :mod:`benchmarks.gpu.timing` to its percentiles, mean
            and number of runs.
        speedup: Median of the anchor in the same group over its own, by the device's clock.
        round_ms: Median of each round, by the device's clock.
        relative_error: The largest, in deviations of eager FP32's answer.
        agreement: Share of images or pixels that keep eager FP32's class.
        gpu_mib: What its process added to the GPU's memory in use.
    """

    name: str
    form: str
    runtime: str
    precision: str
    captured: bool
    group: int = 0
    rounds: int = 0
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    speedup: float | None = None
    round_ms: tuple[float, ...] = ()
    max_abs_error: float | None = None
    relative_error: float | None = None
    mean_error: float | None = None
    agreement: float | None = None
    first_run_s: float | None = None
    open_s: float | None = None
    gpu_mib: float | None = None
    host_mib: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def median_ms(self) -> float | None:
        """By the device's clock, without copies."""
        return self.times[DEVICE_MS]["p50"] if self.times else None


def row_of(entry: Entry, **known: Any) -> Row:
    return Row(
        name=entry.name,
        form=str(entry.form),
        runtime=str(entry.runtime),
        precision=str(entry.precision),
        captured=entry.captured,
        **known,
    )


@dataclass
class Timed(Participant):
    """A participant whose worker writes the times of each turn to a file.

    Attributes:
        entry: Which row it is.
        job: What its worker opens.
    """

    entry: Entry = REFERENCE
    job: Job | None = None

    @classmethod
    def of(cls, entry: Entry, job: Job) -> Self:
        """Make a participant of an entry, with no times on file."""
        message = {"device": job.device, "job": plain(job)}
        candidate = Candidate(entry.name, message, module=WORKER)
        Path(job.book).unlink(missing_ok=True)
        return cls(candidate, entry=entry, job=job)

    @property
    def book(self) -> Path:
        """The file of its times."""
        assert self.job is not None
        return Path(self.job.book)

    @property
    def reason(self) -> str:
        """Why it takes no more turns; empty if it does."""
        return "" if self.error is None else self.error.message


@dataclass(frozen=True)
class TimingGroup:
    """What came of one.

    Attributes:
        rows: Of all that were timed or cannot run, the anchor first.
        crowded: Names of those that found no memory beside the others.
        late: Names of those that the time given did not suffice to open.
    """

    rows: tuple[Row, ...]
    crowded: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


def run_group(
    jobs: Sequence[tuple[Entry, Job]],
    pace: Pace,
    deadline: Deadline,
    progress: Progress,
    *,
    number: int = 1,
    sleep: Callable[[float], None] = time.sleep,
) -> TimingGroup:
    """Time candidates in turn.

    Args:
        jobs: The first is the anchor.
        pace: Rounds, turns and pauses.
        deadline: When to be done.
        progress: Advanced once a turn.
        number: Of the timing group.
        sleep: Waits that many seconds.
    """
    participants = [Timed.of(entry, job) for entry, job in jobs]
    with ExitStack() as processes:
        late = _open_all(participants, pace, deadline, progress, processes)
        if not participants or participants[0].entry != jobs[0][0]:
            # Without the anchor there is nothing to compare the others with.
            return TimingGroup((), late=tuple(entry.name for entry, _ in jobs))
        step = progress.start("Timing", pace.rounds * len(participants))
        fewest = min(FEWEST_ROUNDS, pace.rounds)
        take_rounds(
            participants,
            pace.turn,
            pace.rounds,
            step,
            another=lambda done: (
                done < fewest or deadline.left_s > _round_s(participants, pace)
            ),
            sleep=sleep,
        )
        step.finish()
    return _conclude(participants, late, number)


def _round_s(participants: Sequence[Timed], pace: Pace) -> float:
    return pace.turn_total_s() * sum(not participant.reason for participant in participants)


def _open_all(
    participants: list[Timed],
    pace: Pace,
    deadline: Deadline,
    progress: Progress,
    processes: ExitStack,
) -> list[Timed]:
    """Open them one by one; takes out and gives those that time did not suffice for."""
    step = progress.start("Building and opening", len(participants))
    late: list[Timed] = []
    for participant in list(participants):
        # What is open already needs its rounds.
        kept_s = (FEWEST_ROUNDS + 1) * pace.turn_total_s() * (len(participants) - len(late))
        allowed_s = min(pace.timeout_s, deadline.left_s - kept_s)
        if allowed_s > 0:
            warmup = replace(pace.turn, pause_s=0.0, timeout_s=allowed_s)
            participant.open(processes, warmup=warmup, timeout_s=allowed_s)
            # That turn was the first with other processes starting beside it.
            participant.book.unlink(missing_ok=True)
            if participant.reason:
                progress.warn(f"{participant.name} is out: {participant.reason}")
        in_time = allowed_s >= pace.timeout_s or "gave no answer" not in participant.reason
        if allowed_s <= 0 or not in_time:
            late.append(participant)
            participants.remove(participant)
        step.advance()
    step.finish()
    return late


def _conclude(participants: Sequence[Timed], late: Sequence[Timed], number: int) -> TimingGroup:
    crowded = [
        participant.entry.name
        for participant in participants[1:]
        if len(participants) > 2 and any(words in participant.reason for words in OUT_OF_MEMORY)
    ]
    books = [
        [] if participant.reason else read_book(participant.book)
        for participant in participants
    ]
    anchor = _median(books[0]) if books and books[0] else None
    rows = [
        _row(participant, book, anchor, number)
        for participant, book in zip(participants, books, strict=True)
        if participant.entry.name not in crowded
    ]
    return TimingGroup(
        tuple(rows), tuple(crowded), tuple(participant.entry.name for participant in late)
    )


def _row(participant: Timed, book: list[Times], anchor: float | None, number: int) -> Row:
    if participant.reason:
        return row_of(participant.entry, group=number, error=participant.reason)
    settings = dict(participant.opened["settings"])
    names = ("max_abs_error", "relative_error", "mean_error", "agreement", "first_run_s")
    measured = {name: settings.pop(name, None) for name in names}
    return row_of(
        participant.entry,
        group=number,
        rounds=len(book),
        times={name: summary(book, name) for name in SERIES},
        speedup=None if anchor is None else anchor / _median(book),
        round_ms=tuple(round(float(np.median(turn[DEVICE_MS])), 4) for turn in book),
        open_s=participant.opened["open_s"],
        gpu_mib=participant.gpu_mib,
        host_mib=participant.peak_mib,
        settings=settings,
        **measured,
    )


def summary(book: Sequence[Times], series: str) -> dict[str, float]:
    """Percentiles, mean and number of all timed runs of a series, in milliseconds."""
    times = [time_ms for turn in book for time_ms in turn[series]]
    found = {f"p{p}": float(np.percentile(times, p)) for p in PERCENTILES}
    return {**found, "mean": float(np.mean(times)), "runs": len(times)}


def _median(book: Sequence[Times]) -> float:
    return summary(book, DEVICE_MS)["p50"]
