"""Candidates timed in turn: one process each, round by round, back and forth.

``hrvit-deploy bench`` and the benchmarks on a GPU share this loop; they differ in what
their workers open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.measure.latency.process import WORKER, Worker
from hrvit_deploy.progress import Step


@dataclass(frozen=True)
class Candidate:
    """What is timed, as a process of its own can open it.

    Attributes:
        name: What it is called beside the others.
        message: What its worker opens; see :mod:`hrvit_deploy.measure.latency.worker`.
        threads: CPU threads its libraries may start; None for their own choice.
        module: What Python runs as its worker.
    """

    name: str
    message: dict[str, Any]
    threads: int | None = None
    module: str = WORKER


@dataclass(frozen=True)
class Turn:
    """What one participant does when it is its turn.

    Attributes:
        settle: Untimed runs first, which wake threads and clocks.
        count: Timed runs after them.
        pause_s: Idle seconds before the turn, for other threads to stop spinning.
        timeout_s: Longest wait for the turn, in seconds.
    """

    settle: int
    count: int
    pause_s: float
    timeout_s: float


@dataclass
class Participant:
    """A candidate on its way through the rounds.

    Attributes:
        candidate: What is timed.
        worker: Its process; None until it is opened.
        opened: What the worker said of it when it was open.
        times_ms: Every timed run, in order.
        peak_mib: Most memory its process had resident.
        gpu_mib: What its process added to the GPU's memory in use.
        error: Why it takes no more turns.
    """

    candidate: Candidate
    worker: Worker | None = None
    opened: dict[str, Any] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)
    peak_mib: float | None = None
    gpu_mib: float | None = None
    error: HrvitDeployError | None = None

    @property
    def name(self) -> str:
        """What the candidate is called."""
        return self.candidate.name

    def open(self, processes: ExitStack, *, warmup: Turn, timeout_s: float) -> None:
        """Open the candidate in a process and let it take a first turn that does not count.

        Args:
            processes: Ends the process, however the rounds end.
            warmup: The first turn.
            timeout_s: Longest wait until it is open, in seconds.
        """
        candidate = self.candidate
        self.worker = processes.enter_context(
            Worker(candidate.name, threads=candidate.threads, module=candidate.module)
        )
        with self._stopped_by_errors():
            self.opened = self.worker.open(candidate.message, timeout_s)
        self.take(warmup)
        self.times_ms.clear()

    def take(self, turn: Turn) -> None:
        """Take a turn, unless an earlier one failed."""
        if self.worker is None or self.error is not None:
            return
        with self._stopped_by_errors():
            reply = self.worker.ask(
                {"settle": turn.settle, "count": turn.count}, turn.timeout_s
            )
            self.times_ms += reply["times_ms"]
            self.peak_mib, self.gpu_mib = reply["peak_mib"], reply["gpu_mib"]

    @contextmanager
    def _stopped_by_errors(self) -> Iterator[None]:
        """Keep an error as the reason to stop, and end the process."""
        try:
            yield
        except HrvitDeployError as error:
            self.error = error
            if self.worker is not None:
                self.worker.close()


def take_rounds(
    participants: Sequence[Participant],
    turn: Turn,
    rounds: int,
    step: Step,
    *,
    another: Callable[[int], bool] = lambda _: True,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Let all participants take turns.

    Args:
        participants: Opened; those with an error are passed over.
        turn: What each does in its turn.
        rounds: Turns of each at most.
        step: Advanced once a turn.
        another: Whether there is time for another round after so many.
        sleep: Waits that many seconds.

    Returns:
        How many rounds were taken.
    """
    done = 0
    while done < rounds and another(done):
        # Back and forth, so that none always runs in the wake of the same other.
        for participant in participants if done % 2 == 0 else participants[::-1]:
            if participant.error is None:
                sleep(turn.pause_s)
                participant.take(turn)
            step.advance()
        done += 1
    return done
