from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from support.processes import in_a_process

from hrvit_deploy.engines.monitor import Phases, run_cancellable
from hrvit_deploy.progress import SilentProgress, Step


class Bars:
    """A watcher that writes down all it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self, label: str, total: int | None = None) -> Step:
        self.told.append(f"start {label!r} {total}")
        bars = self

        class Bar:
            def advance(self, steps: int = 1) -> None:
                bars.told.append(f"advance {label!r}")

            def finish(self) -> None:
                bars.told.append(f"finish {label!r}")

        return Bar()

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


def test_phases_nest() -> None:
    bars = Bars()
    phases = Phases(bars, threading.Event())
    phases.start("build", None, 2)
    phases.start("optimize", "build", 1)
    assert phases.step("optimize")
    phases.finish("optimize")
    assert phases.step("build")
    phases.finish("build")
    assert bars.told == [
        "start 'build' 2",
        "start '  optimize' 1",
        "advance '  optimize'",
        "finish '  optimize'",
        "advance 'build'",
        "finish 'build'",
    ]


def test_phases_nobody_started_are_harmless() -> None:
    phases = Phases(Bars(), threading.Event())
    phases.start("orphan", "never started", 1)
    assert phases.step("unknown")
    phases.finish("unknown")
    phases.finish("orphan")


def test_a_failed_build_leaves_no_bar_open() -> None:
    bars = Bars()
    phases = Phases(bars, threading.Event())
    phases.start("build", None, 2)
    phases.start("optimize", "build", 1)
    phases.close()
    assert bars.told[2:] == ["finish '  optimize'", "finish 'build'"]


def test_a_step_says_when_to_stop() -> None:
    cancelled = threading.Event()
    phases = Phases(Bars(), cancelled)
    phases.start("build", None, 2)
    assert phases.step("build")
    cancelled.set()
    assert not phases.step("build")


def test_work_gives_its_result_or_error() -> None:
    assert run_cancellable(lambda: 3, threading.Event(), SilentProgress()) == 3
    with pytest.raises(ZeroDivisionError):
        run_cancellable(lambda: 1 / 0, threading.Event(), SilentProgress())


def interrupt_the_work() -> None:
    cancelled = threading.Event()
    ended = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        cancelled.wait(10)
        time.sleep(0.05)
        ended.append(True)

    progress = SilentProgress()
    with pytest.raises(KeyboardInterrupt):
        run_cancellable(work, cancelled, progress)
    assert ended
    assert "stopping" in progress.notes[0]


def test_ctrl_c_waits_for_the_work_to_end() -> None:
    in_a_process(interrupt_the_work)
