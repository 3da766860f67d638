"""How a candidate's turn is timed: CUDA events and the host's clock, with and without copies.

Every candidate has its input and its answer on the device and puts one run of its own into
PyTorch's current stream. All are timed by this code alone, and where there is no GPU, so
are stand-ins on a CPU, with the host's clock in place of events.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks.gpu.candidates import (
    DEVICE_COPIES_MS,
    DEVICE_MS,
    HOST_COPIES_MS,
    HOST_MS,
    SERIES,
)
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs

Times = dict[str, list[float]]

FEWEST, MOST = 3, 100
WARMUP_S, WARMUP_RUNS = 1.0, 3
# Untimed runs at the start of each turn, for clocks to rise.
SETTLE_S = 0.1


class Launch(Protocol):
    """A candidate, open.

    Attributes:
        image: What it reads; stays where it is.
        answer: What it wrote last.
        settings: What its speed depends on, for reports.
    """

    image: Tensor
    answer: Tensor
    settings: dict[str, Any]

    def launch(self) -> None:
        """Queue one run on the current stream."""

    def close(self) -> None:
        """Give everything back."""


class Clock(Protocol):
    """Time on the device."""

    name: str

    def mark(self) -> Any:
        """Now, in the order of what was queued."""

    def between_ms(self, first: Any, last: Any) -> float:
        """Milliseconds from one mark to another, once the device is done."""

    def wait(self) -> None:
        """Until the device is done."""


class CudaClock:
    """Events in the current stream."""

    name = "CUDA events"

    def mark(self) -> Any:
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between_ms(self, first: Any, last: Any) -> float:
        return float(first.elapsed_time(last))

    def wait(self) -> None:
        torch.cuda.current_stream().synchronize()


class HostClock:
    """The stand-in where the host computes: it is done when a call returns."""

    name = "host"

    def mark(self) -> Any:
        return time.perf_counter_ns()

    def between_ms(self, first: Any, last: Any) -> float:
        return float(last - first) / 1e6

    def wait(self) -> None:
        pass


class Turns(Closing):
    """A candidate as the worker knows them: each of its runs is a whole turn.

    The worker times runs by the host's clock alone, so that a turn's times go to a file.
    """

    name = "turns"

    def __init__(
        self,
        launch: Launch,
        clock: Clock,
        book: Path,
        turn_s: float,
        opened: ExitStack | None = None,
    ) -> None:
        """Warm the candidate up, and find how many runs a turn holds.

        Args:
            launch: Open; closed with this.
            clock: Of its device.
            book: File to add each turn to.
            turn_s: How long the timed runs of one series should take, in seconds.
            opened: Closed last.
        """
        self.device = launch.image.device.type
        self._candidate, self._clock, self._book = launch, clock, book
        self._opened = opened or ExitStack()
        pinned = self.device == "cuda"
        self._given = torch.empty(launch.image.shape, dtype=launch.image.dtype)
        self._given.copy_(launch.image)
        self._taken = torch.empty(launch.answer.shape, dtype=launch.answer.dtype)
        if pinned:
            self._given, self._taken = self._given.pin_memory(), self._taken.pin_memory()
        one_s = warm_up(launch.launch, clock.wait)
        self.count = min(MOST, max(FEWEST, int(turn_s / max(one_s, 1e-9))))
        self.settings: dict[str, Any] = {
            **launch.settings,
            "clock": clock.name,
            "runs_a_turn": self.count,
        }

    def run(self, inputs: Inputs) -> Outputs:  # noqa: ARG002
        """One turn."""
        settle(self._candidate.launch, self._clock.wait)
        times: Times = {name: [] for name in SERIES}
        for _ in range(self.count):
            self._time_resident(times)
        for _ in range(self.count):
            self._time_copies(times)
        with self._book.open("a", encoding="utf-8") as file:
            file.write(json.dumps(times) + "\n")
        return {}

    def close(self) -> None:
        """Close the candidate."""
        self._candidate.close()
        self._opened.close()

    def _time_resident(self, times: Times) -> None:
        """One run from the device's memory to the device's memory."""
        clock = self._clock
        started = time.perf_counter_ns()
        first = clock.mark()
        self._candidate.launch()
        last = clock.mark()
        clock.wait()
        times[HOST_MS].append((time.perf_counter_ns() - started) / 1e6)
        times[DEVICE_MS].append(clock.between_ms(first, last))

    def _time_copies(self, times: Times) -> None:
        """One run from pinned host memory to pinned host memory."""
        clock = self._clock
        started = time.perf_counter_ns()
        first = clock.mark()
        self._candidate.image.copy_(self._given, non_blocking=True)
        self._candidate.launch()
        self._taken.copy_(self._candidate.answer, non_blocking=True)
        last = clock.mark()
        clock.wait()
        times[HOST_COPIES_MS].append((time.perf_counter_ns() - started) / 1e6)
        times[DEVICE_COPIES_MS].append(clock.between_ms(first, last))


def warm_up(launch: Callable[[], None], wait: Callable[[], None]) -> float:
    """Run for a second and three times at least; seconds of the last run."""
    begun, runs, took = time.perf_counter(), 0, 0.0
    while runs < WARMUP_RUNS or time.perf_counter() - begun < WARMUP_S:
        started = time.perf_counter()
        launch()
        wait()
        took = time.perf_counter() - started
        runs += 1
    return took


def settle(launch: Callable[[], None], wait: Callable[[], None]) -> None:
    """Untimed runs until the clocks are up."""
    begun = time.perf_counter()
    while True:
        launch()
        wait()
        if time.perf_counter() - begun >= SETTLE_S:
            return


def read_book(path: Path) -> list[Times]:
    """Every turn that a candidate finished; a line cut short is none."""
    turns: list[Times] = []
    if not path.exists():
        return turns
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            turns.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return turns
