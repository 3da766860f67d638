"""Progress of long work, reported to whoever watches; nobody by default."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

Item = TypeVar("Item")
# What is done within so short a time was done before: an interrupted run goes on from it.
AT_ONCE = 0.5


class Step(Protocol):
    """One bar: so many steps of one kind of work."""

    def advance(self, steps: int = 1) -> None:
        """Advance by so many steps."""

    def finish(self) -> None:
        """Finish the bar, whatever was left."""


class Progress(Protocol):
    """Where stages report to."""

    def start(self, label: str, total: int | None = None) -> Step:
        """Start a bar of ``total`` steps; None where their number is unknown."""

    def note(self, text: str) -> None:
        """Show one line worth reading, such as a fallback and why."""

    def warn(self, text: str) -> None:
        """Show one line that must be read."""


class _SilentStep:
    def advance(self, steps: int = 1) -> None:
        pass

    def finish(self) -> None:
        pass


class SilentProgress:
    """A watcher that keeps what it was sent and shows nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def start(self, label: str, total: int | None = None) -> Step:  # noqa: ARG002
        return _SilentStep()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@contextmanager
def working(progress: Progress, label: str) -> Iterator[None]:
    """Show a bar of unknown length around one piece of work."""
    step = progress.start(label)
    try:
        yield
    finally:
        step.finish()


def track(
    progress: Progress, label: str, items: Iterable[Item], total: int | None = None
) -> Iterator[Item]:
    """Yield the items, advancing a bar after each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    step = progress.start(label, total)
    try:
        for item in items:
            yield item
            step.advance()
    finally:
        step.finish()


class TimedStep:
    """How far one kind of work is, and how long it will take: what a bar shows, in words."""

    def __init__(
        self, label: str, total: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin now, with nothing done."""
        self.label, self.total = label.strip(), total
        self.done = 0
        self._clock = clock
        self._since = self._started = clock()
        self._before = 0

    def advance(self, steps: int = 1) -> None:
        """Count so many steps as done."""
        self.done += steps
        if self._clock() - self._started < AT_ONCE:
            self._since, self._before = self._clock(), self.done

    def describe(self) -> str:
        """Return what is done, how many steps of how many, and the time to go."""
        if not self.total:
            return f"{self.label}: {duration(self._clock() - self._started)} so far"
        told = f"{self.label}: {self.done} of {self.total}"
        fresh = self.done - self._before
        if fresh <= 0:
            return f"{told}, {duration(self._clock() - self._started)} so far"
        left = max(self.total - self.done, 0) * (self._clock() - self._since) / fresh
        return f"{told}, about {duration(left)} to go"


def duration(seconds: float) -> str:
    """Write a duration as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
