"""What happens inside a candidate's process, without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrvit_deploy.artefact import Kind
from hrvit_deploy.measure.latency import worker
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs


class Counting(Closing):
    name = "counting"
    device = "cuda"

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"kind": Kind.PLAN}
        self.runs = 0
        self.closed = False

    def run(self, inputs: Inputs) -> Outputs:
        self.runs += 1
        return {}

    def close(self) -> None:
        self.closed = True


MESSAGE = {"device": "cuda"}
INPUTS = {"image": np.zeros((3, 2), np.float32)}


def test_runs_are_timed_by_the_clock_given() -> None:
    ticks = iter([0, 2_000_000, 5_000_000, 5_500_000])
    assert worker.time_runs(lambda: None, 2, lambda: next(ticks)) == [2.0, 0.5]


def test_settling_runs_are_not_timed() -> None:
    runner = Counting()
    bench = worker.Bench(MESSAGE, lambda message: (runner, INPUTS))
    answer = bench.run(settle=3, count=2)
    assert runner.runs == 5
    assert len(answer["times_ms"]) == 2
    assert bench.opened["batch"] == 3
    assert bench.opened["settings"] == {"kind": "plan"}


def test_gpu_memory_is_what_opening_and_warming_up_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = iter([100.0, 750.0, 9000.0])
    monkeypatch.setattr(worker, "gpu_used_mib", lambda: next(looks))
    bench = worker.Bench(MESSAGE, lambda message: (Counting(), INPUTS))
    # Later rounds run beside other candidates' memory and must not count it.
    assert [bench.run(0, 1)["gpu_mib"] for _ in range(2)] == [650.0, 650.0]


def test_without_nvidia_smi_gpu_memory_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "gpu_used_mib", lambda: None)
    bench = worker.Bench(MESSAGE, lambda message: (Counting(), INPUTS))
    assert bench.run(0, 1)["gpu_mib"] is None


def test_peak_memory_is_the_kernel_s(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("VmPeak:  9 kB\nVmHWM:\t  2048 kB\nVmRSS: 1 kB\n")
    assert worker.peak_mib(status) == 2
    assert worker.peak_mib(tmp_path / "absent") is None
    assert 10 < (worker.peak_mib() or 0) < 100_000


def test_stop_closes_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Counting()
    monkeypatch.setattr(worker, "gpu_used_mib", lambda: None)
    messages: Iterator[dict[str, Any]] = iter(
        [{"open": MESSAGE}, {"settle": 0, "count": 1}, {"stop": True}]
    )
    sent: list[dict[str, Any]] = []
    worker.serve(lambda: next(messages), sent.append, lambda message: (runner, INPUTS))
    assert [set(message) for message in sent] == [
        {"device", "settings", "batch", "open_s"},
        {"times_ms", "peak_mib", "gpu_mib"},
    ]
    assert runner.closed
