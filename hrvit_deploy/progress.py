"""Progress of long work, reported to whoever watches; nobody by default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

Item = TypeVar("Item")


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
