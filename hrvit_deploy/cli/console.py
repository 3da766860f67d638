"""What people see: results on standard output, everything else on standard error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.encoding import encode_json
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.progress import TimedStep
from hrvit_deploy.standalone.names import printable
from hrvit_deploy.verdict import verdict_of

# Between two lines that say how far the work is, where nobody sees a bar.
LOG_SECONDS = 30.0


class Verbosity(IntEnum):
    """How much is shown on standard error."""

    QUIET = 0
    USUAL = 1
    VERBOSE = 2


# Of the command that runs; set anew by each.
verbosity = Verbosity.USUAL


class _Bar:
    def __init__(
        self, terminal: Terminal, shown: Progress, task: TaskID, timed: TimedStep
    ) -> None:
        self._terminal, self._timed = terminal, timed
        self._shown = shown
        self._task = task
        self._started = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._timed.advance(steps)
        self._shown.advance(self._task, steps)

    def finish(self) -> None:
        self._terminal.leave(self._timed)
        # Over, whatever was left: a bar that stays short looks like work going on. Steps
        # within steps have been seen, and leave.
        task = next(task for task in self._shown.tasks if task.id == self._task)
        done = max(task.completed, 1)
        nested = task.description.startswith(" ")
        self._shown.update(self._task, total=done, completed=done, visible=not nested)
        if verbosity is Verbosity.VERBOSE:
            seconds = time.monotonic() - self._started
            self._terminal.note(f"{self._timed.label}: {seconds:.2f} s")


class Terminal:
    """Progress bars and notes on standard error; a context manager.

    Where standard error is no terminal, a line every half minute says how far the work is.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: list[TimedStep] = []
        self._closed = threading.Event()
        self._logger: threading.Thread | None = None
        self.console = Console(stderr=True, highlight=False)
        self._warned: set[str] = set()
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal or verbosity is Verbosity.QUIET,
        )

    def start(self, label: str, total: int | None = None) -> _Bar:
        # A log has no bars; steps within steps are indented, and would flood it.
        if not self.console.is_terminal and not label.startswith(" "):
            self.note(label)
        timed = TimedStep(label, total, self._clock)
        self._running.append(timed)
        return _Bar(self, self._progress, self._progress.add_task(label, total=total), timed)

    def leave(self, step: TimedStep) -> None:
        """Speak no more of a step that is over."""
        if step in self._running:
            self._running.remove(step)

    def log(self) -> None:
        """Print a line that says how far the work is, if any goes on."""
        told = "; ".join(step.describe() for step in tuple(self._running))
        if told:
            self.note(told)

    def _log_until_closed(self) -> None:
        while not self._closed.wait(LOG_SECONDS):
            self.log()

    def note(self, text: str) -> None:
        if verbosity is not Verbosity.QUIET:
            self.console.print(shown(text), style="dim", soft_wrap=True, markup=False)

    def warn(self, text: str) -> None:
        # Several stages look at the same files: what is wrong with them is said once.
        if text in self._warned:
            return
        self._warned.add(text)
        self.console.print(
            shown(f"warning: {text}"), style="yellow", soft_wrap=True, markup=False
        )

    def __enter__(self) -> Self:
        self._progress.start()
        if not self.console.is_terminal and verbosity is not Verbosity.QUIET:
            self._logger = threading.Thread(target=self._log_until_closed, daemon=True)
            self._logger.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        if self._logger is not None:
            self._logger.join()
        self._progress.stop()


def shown(text: str) -> str:
    """Return text whose controls, which names of files may hold, are escaped; lines stay."""
    return "\n".join(map(printable, text.split("\n")))


def print_json(value: Any) -> None:
    """Print one object on standard output."""
    print(encode_json(value).decode())  # noqa: T201


def print_error(error: HrvitDeployError, *, as_json: bool) -> None:
    """Print what went wrong and how to fix it, in one line or one object."""
    if as_json:
        print_json({"error": error.message, "hint": error.hint})
        return
    line = f"error: {error.message}"
    console = Console(stderr=True, highlight=False)
    hint = f"; {error.hint}" if error.hint else ""
    text = printable((line + hint).replace("\n", " "))
    console.print(text, style="red", soft_wrap=True, markup=False)


def written(write: Callable[[], object]) -> bool:
    """Write a file; where that fails, warn and return False: what it holds is printed still."""
    try:
        write()
    except HrvitDeployError as error:
        Terminal().warn(f"{error.message}; {error.hint}")
        return False
    return True


def human_bytes(count: float) -> str:
    """Return ``18.2 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def now() -> str:
    """Return this second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def exit_on_refusal(*artefacts: Artefact) -> None:
    """End with 1 where an artefact missed what it was held to, or cannot be judged."""
    if not all(verdict_of(artefact.manifest).usable for artefact in artefacts):
        raise typer.Exit(1)
