"""What a command says of long work on standard error: lines in a log, bars on a terminal."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from hrvit_deploy.cli import console
from hrvit_deploy.cli.console import Terminal, Verbosity


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_says_how_far_all_running_work_is(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    terminal = Terminal(clock)
    outer = terminal.start("Leaving products in float")
    inner = terminal.start(" Evaluating onnxruntime-cpu", 20)
    clock.now = 30
    inner.advance(5)
    terminal.log()
    inner.finish()
    terminal.log()
    outer.finish()
    terminal.log()
    assert lines(capsys) == [
        "Leaving products in float",
        (
            "Leaving products in float: 30 s so far;"
            " Evaluating onnxruntime-cpu: 5 of 20, about 2 min to go"
        ),
        "Leaving products in float: 30 s so far",
    ]


def test_lines_come_by_themselves_and_end_with_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LOG_SECONDS", 0.005)
    told = threading.Event()

    class Watched(Terminal):
        def log(self) -> None:
            super().log()
            told.set()

    before = threading.active_count()
    with Watched() as terminal:
        step = terminal.start("Building the engine")
        assert told.wait(20)
        step.finish()
    assert threading.active_count() == before
    assert any(line.startswith("Building the engine: 0 s so far") for line in lines(capsys))


@pytest.mark.parametrize("kind", ["a terminal", "quiet"])
def test_a_terminal_has_its_bar_and_quiet_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LOG_SECONDS", 0.001)
    if kind == "quiet":
        monkeypatch.setattr(console, "verbosity", Verbosity.QUIET)
    terminal = Terminal()
    file = io.StringIO()
    if kind == "a terminal":
        terminal.console = Console(file=file, force_terminal=True)
    before = threading.active_count()
    terminal._progress.disable = True
    with terminal:
        terminal.start("Timing", 3).finish()
        assert threading.active_count() == before
    assert "so far" not in file.getvalue()
