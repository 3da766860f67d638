"""Candidates are timed fairly, one's failure is its own, and no process stays behind."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fake_candidates
from support.fake_candidates import Behaviour

from hrvit_deploy.artefact import plain
from hrvit_deploy.errors import UsageError
from hrvit_deploy.measure.latency.bench import BenchOptions, BenchReport, bench
from hrvit_deploy.measure.latency.rounds import Candidate
from hrvit_deploy.progress import SilentProgress

QUICK = BenchOptions(rounds=3, runs=4, warmup=2, settle=1, pause_s=0, timeout_s=30)


def fake(name: str, does: str = "sleep:2", **changes: Any) -> Candidate:
    threads = changes.pop("threads", None)
    message = Behaviour(name, does, **changes).message
    return Candidate(name, message, threads, fake_candidates.__name__)


def run(
    *candidates: Candidate,
    options: BenchOptions = QUICK,
    progress: SilentProgress | None = None,
) -> BenchReport:
    return bench(candidates, options, {"cpu": "any"}, progress or SilentProgress())


def test_each_row_holds_what_was_asked() -> None:
    report = run(fake("one"), fake("four", "sleep:8", batch=4))
    one, four = report.results
    assert [one.name, four.name] == ["one", "four"]
    assert len(one.times_ms) == len(four.times_ms) == 12
    assert one.ratio == 1
    assert four.p50_ms is not None
    assert one.p50_ms is not None
    assert four.ratio == four.p50_ms / one.p50_ms > 2
    assert four.mean_ms == pytest.approx(np.mean(four.times_ms))
    assert four.images_per_s == pytest.approx(4000 / np.mean(four.times_ms))
    assert [four.p50_ms, four.p90_ms, four.p99_ms] == pytest.approx(
        np.percentile(four.times_ms, [50, 90, 99])
    )
    assert min(four.times_ms) >= 8
    assert four.device == "cpu"
    assert report.environment == {"cpu": "any"}


def test_the_report_is_json() -> None:
    row = plain(run(fake("one")))["results"][0]
    for name in "p50_ms p90_ms p99_ms mean_ms images_per_s peak_mib ratio".split():  # noqa: SIM905
        assert math.isfinite(row[name])
    assert row["name"] == "one"


def test_memory_is_each_process_its_own() -> None:
    big = np.ones(600 << 17)  # this process holds more than either worker
    small, eater = run(fake("small"), fake("eater", "eat")).results
    assert big.nbytes / 2**20 > 500
    assert small.peak_mib is not None
    assert eater.peak_mib is not None
    assert small.peak_mib < 400
    assert eater.peak_mib - small.peak_mib == pytest.approx(40, abs=15)


def test_threads_reach_the_libraries() -> None:
    [row] = run(fake("one", threads=3)).results
    assert row.settings == {"threads": "3"}


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("absent", "there is no such thing"),
        ("refuse", "the engine stalled"),
        ("crash", r"broken died: SIGSEGV \(terminate called\)"),
        ("bug", "ZeroDivisionError: one"),
    ],
)
def test_a_failure_stays_in_its_row(behaviour: str, says: str) -> None:
    good, broken, other = run(fake("good"), fake("broken", behaviour), fake("other")).results
    assert good.ratio == 1
    assert len(other.times_ms) == 12
    assert broken.p50_ms is None
    assert broken.hint or behaviour == "bug"
    assert re.fullmatch(says, broken.error)


def test_a_warning_tells_who_is_out_before_the_rounds() -> None:
    progress = SilentProgress()
    run(fake("good"), fake("broken", "absent"), progress=progress)
    assert progress.warnings == ["broken is out: there is no such thing"]


def test_a_candidate_that_hangs_is_out_in_time() -> None:
    options = BenchOptions(rounds=1, runs=1, pause_s=0, timeout_s=2)
    hanging, good = run(fake("hanging", "hang"), fake("g"), options=options).results
    assert hanging.error == "hanging gave no answer for 2 s"
    assert good.ratio is None  # there is nothing to hold it against
    assert len(good.times_ms) == 1


def test_turns_go_back_and_forth_with_a_pause_before_each() -> None:
    pauses: list[float] = []
    bench(
        [fake("a"), fake("b")],
        BenchOptions(rounds=2, runs=1, pause_s=0.25),
        {},
        SilentProgress(),
        sleep=pauses.append,
    )
    assert pauses == [0.25] * 4


@pytest.mark.parametrize(("load", "warnings"), [(0.9, 0), (1.1, 1), (None, 0)])
def test_a_busy_machine_is_warned_of(load: float | None, warnings: int) -> None:
    progress = SilentProgress()
    environment = {"load": load, "usable_cores": 2}
    options = BenchOptions(rounds=1, runs=1, warmup=0, settle=0, pause_s=0)
    bench([fake("a")], options, environment, progress)
    assert len(progress.warnings) == warnings


def test_candidates_of_one_name_or_none_are_refused() -> None:
    with pytest.raises(UsageError, match="none given"):
        run()
    with pytest.raises(UsageError, match="apart: a, a"):
        run(fake("a"), fake("a"))


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"runs": 0}, {"warmup": -1}, {"pause_s": -1}, {"timeout_s": 0}]
)
def test_options_that_time_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BenchOptions(**wrong)


SCRIPT = """
from hrvit_deploy.measure.latency.bench import BenchOptions, bench
from hrvit_deploy.measure.latency.rounds import Candidate
from hrvit_deploy.progress import SilentProgress
from support.fake_candidates import Behaviour
bench(
    [
        Candidate(name, Behaviour(name, does, pid_folder={folder!r}).message, None, {module!r})
        for name, does in (("sleeper", "sleep:1"), ("hanging", "hang"))
    ],
    BenchOptions(), {{}}, SilentProgress(),
)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path: Path, ending: signal.Signals) -> None:
    script = SCRIPT.format(folder=str(tmp_path), module=fake_candidates.__name__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        files = [tmp_path / "sleeper.pid", tmp_path / "hanging.pid"]
        wait_until(lambda: all(path.is_file() and path.read_text() for path in files))
        workers = [int(path.read_text()) for path in files]
        assert all(map(is_running, workers))
        parent.send_signal(ending)
        assert parent.wait(10) != 0
        wait_until(lambda: not any(map(is_running, workers)))
    finally:
        parent.kill()
        parent.wait()


def wait_until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False
    return "\nState:\tZ" not in status
