"""Long work says how far it is and how long it will take, in words, where nobody sees a bar."""

from __future__ import annotations

import pytest

from hrvit_deploy.progress import TimedStep, duration


class Clock:
    """Time that passes when a test says so, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_step_tells_what_is_done_and_the_time_to_go() -> None:
    clock = Clock()
    step = TimedStep("Evaluating onnxruntime-cpu", 100, clock)
    for _ in range(20):
        clock.now += 1.5
        step.advance()
    assert step.describe() == "Evaluating onnxruntime-cpu: 20 of 100, about 2 min to go"
    clock.now += 15
    step.advance(30)
    assert step.describe() == "Evaluating onnxruntime-cpu: 50 of 100, about 45 s to go"


def test_what_an_interrupted_run_had_done_makes_no_haste() -> None:
    clock = Clock()
    step = TimedStep("Evaluating", 100, clock)
    step.advance(80)
    assert step.describe() == "Evaluating: 80 of 100, 0 s so far"
    clock.now += 40
    step.advance(10)
    assert step.describe() == "Evaluating: 90 of 100, about 40 s to go"


def test_a_step_of_unknown_length_tells_how_long_it_has_taken() -> None:
    clock = Clock()
    step = TimedStep("  Simplifying the graph", None, clock)
    clock.now += 75
    assert step.describe() == "Simplifying the graph: 75 s so far"


def test_more_than_was_to_do_leaves_nothing_to_go() -> None:
    clock = Clock()
    step = TimedStep("Timing", 2, clock)
    clock.now += 9
    step.advance(3)
    assert step.describe() == "Timing: 3 of 2, about 0 s to go"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, told: str) -> None:
    assert duration(seconds) == told
