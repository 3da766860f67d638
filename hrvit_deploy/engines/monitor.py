"""Reports a build's progress, and stops a build."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from types import ModuleType
from typing import Any, TypeVar

from hrvit_deploy.progress import Progress, Step

Result = TypeVar("Result")


class Phases:
    """Nested phases of a build as progress bars, one for each open phase.

    The builder's threads open and close phases; open phases have different names.
    """

    def __init__(self, progress: Progress, cancelled: threading.Event) -> None:
        self._progress = progress
        self._cancelled = cancelled
        self._open: dict[str, tuple[int, Step]] = {}
        self._lock = threading.Lock()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Open a phase of ``steps`` steps, inside ``parent`` if that is an open phase."""
        with self._lock:
            depth = self._open[parent][0] + 1 if parent in self._open else 0
            bar = self._progress.start("  " * depth + name, steps)
            self._open[name] = (depth, bar)

    def step(self, name: str) -> bool:
        """Advance a phase by one step, and return whether to go on."""
        with self._lock:
            if name in self._open:
                self._open[name][1].advance()
        return not self._cancelled.is_set()

    def finish(self, name: str) -> None:
        """Close a phase."""
        with self._lock:
            if name in self._open:
                self._open.pop(name)[1].finish()

    def close(self) -> None:
        """Close the phases that a failed build left open."""
        for name in reversed(list(self._open)):
            self.finish(name)


def progress_monitor(trt: ModuleType, phases: Phases) -> Any:
    """Make an ``IProgressMonitor`` that reports to those phases."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(
            self, phase_name: str, parent_phase: str | None, num_steps: int
        ) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:  # noqa: ARG002
            return phases.step(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()


def run_cancellable(
    work: Callable[[], Result], cancelled: threading.Event, progress: Progress
) -> Result:
    """Do the work in another thread, so that Ctrl-C reaches this one while it runs.

    TensorRT-RTX spends nearly all its time in one step and cannot be stopped within it, so
    stopping may take as long as that step. This function waits for the thread, since leaving
    while it runs native code crashes the process.

    Args:
        work: Should end soon once ``cancelled`` is set.
        cancelled: Is set on Ctrl-C.
        progress: Receives a note that the work is about to stop.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once the work has ended.
    """
    outcome: Future[Result] = Future()
    # Ctrl-C may come while the thread starts, so the work begins only once ``go`` is set.
    go = threading.Event()

    def begin() -> None:
        go.wait()
        if cancelled.is_set():
            return
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001
            outcome.set_exception(error)

    try:
        threading.Thread(target=begin, name="build").start()
        go.set()
        wait([outcome])
    except KeyboardInterrupt:
        cancelled.set()
        if go.is_set() and not outcome.done():
            progress.note("stopping at the builder's next step")
            wait([outcome])
        raise
    finally:
        go.set()
    return outcome.result()
