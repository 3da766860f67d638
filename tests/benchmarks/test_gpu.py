"""The comparison on a GPU, as far as a machine without one can walk it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from support.networks import TINY, TINY_FILE

from benchmarks.common.cases import Case
from benchmarks.common.forms import Form
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import rounds as gpu_rounds
from benchmarks.gpu import run as gpu_run
from benchmarks.gpu import timing as gpu_turns
from benchmarks.gpu.agreement import compare
from benchmarks.gpu.candidates import (
    ANCHOR,
    CPU,
    CUDA,
    DEVICE_MS,
    ENTRIES,
    FP16,
    HOST_COPIES_MS,
    REFERENCE,
    SERIES,
    Entry,
    Job,
    Runtime,
    entries_for,
)
from benchmarks.gpu.charts import draw
from benchmarks.gpu.graphs import Prepared
from benchmarks.gpu.machine import look
from benchmarks.gpu.results import Results
from benchmarks.gpu.rounds import Deadline, Pace, row_of, run_group
from benchmarks.gpu.rtx_support import Answer as Reply
from benchmarks.gpu.rtx_support import after, refusal, runs_as
from benchmarks.gpu.schedule import Places, Plan, Shape, choose_entries, choose_shapes
from benchmarks.gpu.schedule import quick as quick_of
from benchmarks.gpu.tables import everything, performance, questions_table, targets_table
from benchmarks.gpu.targets import judge, targets
from benchmarks.gpu.timing import HostClock, Turns, read_book
from hrvit_deploy.artefact import open_artefact, plain
from hrvit_deploy.errors import ExportError, HrvitDeployError, RunnerError, UsageError
from hrvit_deploy.options import ImageSize, Task
from hrvit_deploy.progress import SilentProgress

ROOT = Path(__file__).parents[2]


OURS = Entry(Form.FITTED, Runtime.TENSORRT, FP16)
PLAIN = replace(OURS, form=Form.PLAIN)
COMPILED = Entry(Form.TRAINED, Runtime.COMPILE, FP16)
SMALL = Shape(Task.CLASSIFY, ImageSize(32, 32))
PACE = Pace(rounds=4, turn_s=0, per_group=3, pause_s=0)


def test_everything_competes_once_and_the_anchor_first() -> None:
    for device in (CUDA, CPU):
        names = [entry.name for entry in entries_for(device, trt8=device == CUDA)]
        assert len(set(names)) == len(names)
    assert ENTRIES[0] == ANCHOR
    assert OURS.name == "ours fitted, TensorRT fp16"
    assert replace(OURS, captured=True).name == "ours fitted, TensorRT fp16 in a CUDA graph"
    assert not [e for e in ENTRIES if e.runtime in (Runtime.TRT8, Runtime.ORT_CPU)]
    judged = {e for t in targets() for e in (*t.ours, t.other) if e.runtime != Runtime.TRT8}
    assert judged <= set(ENTRIES)
    # What targets are of is timed before all else.
    assert {ANCHOR, OURS, PLAIN, COMPILED} <= set(ENTRIES[:7])


class Doubling:
    """A candidate that doubles its image, and notes what is asked of it."""

    def __init__(self, notes: list[str] | None = None) -> None:
        self.image = torch.arange(6.0).reshape(2, 3)
        self.answer = torch.zeros(2, 3)
        self.settings: dict[str, Any] = {"kind": "doubling"}
        self.notes = [] if notes is None else notes

    def launch(self) -> None:
        self.notes.append("launch")
        self.answer = self.image * 2

    def close(self) -> None:
        self.notes.append("close")


class Ticking:
    """A clock of the device that ticks once a mark, two milliseconds apart."""

    name = "ticks"

    def __init__(self, notes: list[str]) -> None:
        self.notes, self.now = notes, 0

    def mark(self) -> int:
        self.notes.append("mark")
        self.now += 2
        return self.now

    def between_ms(self, first: int, last: int) -> float:
        return float(last - first)

    def wait(self) -> None:
        self.notes.append("wait")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_turns, "WARMUP_S", 0)
    monkeypatch.setattr(gpu_turns, "SETTLE_S", 0)


def test_a_turn_is_timed_by_both_clocks_with_and_without_copies(
    tmp_path: Path, quickly: None
) -> None:
    notes: list[str] = []
    spec, book = Doubling(notes), tmp_path / "book"
    turns = Turns(spec, Ticking(notes), book, turn_s=0)
    assert turns.count == gpu_turns.FEWEST
    assert turns.settings["clock"] == "ticks"
    notes.clear()
    # Only a copy brings back the image that it was opened with.
    spec.image.zero_()
    turns.run({})
    settle, run = ["launch", "wait"], ["mark", "launch", "mark", "wait"]
    assert notes == settle + run * 2 * turns.count
    assert turns._taken.tolist() == [[0, 2, 4], [6, 8, 10]]
    (times,) = read_book(book)
    assert set(times) == set(SERIES)
    assert times[DEVICE_MS] == [2.0] * turns.count
    assert all(time_ms > 0 for time_ms in times[HOST_COPIES_MS])
    turns.close()
    assert notes[-1] == "close"


def test_quick_candidates_run_more_often_in_a_turn(tmp_path: Path, quickly: None) -> None:
    turns = Turns(Doubling(), HostClock(), tmp_path / "book", turn_s=60)
    assert turns.count == gpu_turns.MOST


def test_a_turn_cut_short_is_none(tmp_path: Path) -> None:
    book = tmp_path / "book"
    assert read_book(book) == []
    book.write_text('{"device_ms": [1.0]}\n{"device_ms": [1.')
    assert read_book(book) == [{"device_ms": [1.0]}]


def test_answers_are_compared_in_deviations() -> None:
    expected = np.array([[1.0, -1.0, 1.0, -1.0], [2.0, -2.0, 2.5, -2.0]], np.float32)
    answer = expected.copy()
    answer[1, 1] = 3.0
    found = compare(answer, expected, ImageSize(32, 32))
    assert found["max_abs_error"] == 5.0
    assert found["relative_error"] == pytest.approx(5 / expected.std())
    assert found["agreement"] == 0.5
    answer[0, 0] = np.nan
    found = compare(answer, expected, ImageSize(32, 32))
    assert (found["relative_error"], found["not_finite"], found["agreement"]) == (None, 1, 0)
    with pytest.raises(RunnerError, match="shape"):
        compare(answer[:1], expected, ImageSize(32, 32))


class Machine:
    """Stands in for processes on a GPU: who takes how long, who fails, and who is open.

    Attributes:
        takes_ms: Name to milliseconds a run; 1 for those not in it.
        fails: Name to what its opening says.
        fails_beside: The same, where more than the anchor is open already.
        log: Openings and turns, in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.takes_ms: dict[str, float] = {}
        self.fails: dict[str, str] = {}
        self.fails_beside: dict[str, str] = {}
        self.open: list[str] = []
        self.log: list[str] = []
        self.stop_at = ""
        machine = self

        class Process:
            def __init__(self, name: str, *, threads: int | None = None, module: str) -> None:
                assert (threads, module) == (None, "benchmarks.gpu.worker")
                self.name = name

            def open(self, message: dict[str, Any], timeout_s: float) -> Any:
                self.job = msgspec.convert(message["job"], Job)
                assert message["device"] == self.job.device
                machine.opened(self.name, self.job, timeout_s)
                settings = {"version": "1", "relative_error": 0.01, "agreement": 1.0}
                return {"settings": settings, "open_s": 1.0}

            def ask(self, message: dict[str, Any], timeout_s: float) -> Any:
                machine.log.append(self.name)
                took = machine.takes_ms.get(self.name, 1.0)
                with Path(self.job.book).open("a") as file:
                    file.write(json.dumps({series: [took] * 3 for series in SERIES}) + "\n")
                return {"times_ms": [], "peak_mib": 100.0, "gpu_mib": 50.0}

            def close(self) -> None:
                if self.name in machine.open:
                    machine.open.remove(self.name)

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

        monkeypatch.setattr("hrvit_deploy.measure.latency.rounds.Worker", Process)
        monkeypatch.setattr(gpu_run, "Worker", Process)

    def opened(self, name: str, job: Job, timeout_s: float) -> None:
        if job.answer:
            np.save(job.answer, np.zeros((1, 4), np.float32))
            return
        self.log.append(f"open {name}")
        if name == self.stop_at:
            raise KeyboardInterrupt
        reason = self.fails.get(name) or (len(self.open) > 1 and self.fails_beside.get(name))
        if reason:
            raise RunnerError(reason)
        self.open.append(name)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def job_for(entry: Entry, folder: Path, number: int) -> tuple[Entry, Job]:
    network = Case(TINY, *SMALL).request
    book = str(folder / f"{number}.jsonl")
    return entry, Job(entry, CUDA, network, (32, 32), 1, "", "", book, str(folder))


def jobs(folder: Path, *entries: Entry) -> list[tuple[Entry, Job]]:
    return [job_for(entry, folder, number) for number, entry in enumerate(entries)]


def test_a_group_takes_turns_and_holds_all_against_its_anchor(
    machine: Machine, tmp_path: Path
) -> None:
    machine.takes_ms = {ANCHOR.name: 8.0, OURS.name: 2.0}
    machine.fails = {COMPILED.name: "no Triton"}
    entries = (ANCHOR, OURS, COMPILED)
    group = run_group(
        jobs(tmp_path, *entries), PACE, Deadline(None), SilentProgress(), number=3
    )
    assert not machine.open
    back_and_forth = [ANCHOR.name, OURS.name, OURS.name, ANCHOR.name] * 2
    assert [line for line in machine.log if "open" not in line][2:] == back_and_forth
    anchor, ours, compiled = group.rows
    assert (anchor.speedup, ours.speedup, compiled.speedup) == (1.0, 4.0, None)
    assert (ours.group, ours.rounds, ours.round_ms) == (3, PACE.rounds, (2.0,) * PACE.rounds)
    # The turn that warmed it up is not counted.
    assert ours.times[DEVICE_MS]["runs"] == 3 * PACE.rounds
    assert (ours.relative_error, ours.gpu_mib, ours.settings) == (0.01, 50.0, {"version": "1"})
    assert (compiled.error, compiled.times) == ("no Triton", {})


def test_who_finds_no_memory_beside_others_is_no_failure_yet(
    machine: Machine, tmp_path: Path
) -> None:
    machine.fails_beside = {PLAIN.name: "CUDA out of memory. Tried to allocate 2 GiB"}
    together = jobs(tmp_path, ANCHOR, OURS, PLAIN)
    group = run_group(together, PACE, Deadline(None), SilentProgress())
    assert [row.name for row in group.rows] == [ANCHOR.name, OURS.name]
    assert group.crowded == (PLAIN.name,)
    machine.fails = machine.fails_beside
    group = run_group(jobs(tmp_path, ANCHOR, PLAIN), PACE, Deadline(None), SilentProgress())
    assert group.crowded == ()
    assert "out of memory" in group.rows[1].error


def test_a_group_leaves_time_for_the_rounds_of_what_is_open(
    machine: Machine, tmp_path: Path
) -> None:
    seconds = iter([0.0, *[1.0] * 2, *[99.0] * 100])
    deadline = Deadline(100.0, lambda: next(seconds))
    group = run_group(jobs(tmp_path, ANCHOR, OURS, PLAIN), PACE, deadline, SilentProgress())
    assert group.late == (PLAIN.name,)
    assert [row.rounds for row in group.rows] == [gpu_rounds.FEWEST_ROUNDS] * 2
    late = run_group(jobs(tmp_path, ANCHOR, OURS), PACE, Deadline(1.0), SilentProgress())
    assert (late.rows, late.late) == ((), (ANCHOR.name, OURS.name))


class Making(Prepared):
    """A folder where graphs are names, and one cannot be made."""

    def graph(self, case: Case, entry: Entry) -> Path:
        if entry == PLAIN:
            raise ExportError("onnxsim crashed")
        return self.folder / "graph.onnx"

    def pictures(self, case: Case) -> Path:
        return self.folder / "pictures.npy"


PLAN = Plan((TINY,), (ANCHOR, OURS, PLAIN, COMPILED), (SMALL,), CUDA, PACE)


@pytest.fixture
def going(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: Machine
) -> Callable[..., dict[str, Any]]:
    """Run a plan on the stand-in; gives the JSON."""
    obstacles = dict.fromkeys(map(str, Runtime), "")
    obstacles[Runtime.ORT_CUDA] = "no such provider"
    found = {"device": CUDA, "gpu": {"name": "Any GPU"}, "obstacles": obstacles, "cuda": "13"}
    monkeypatch.setattr(gpu_run, "survey", lambda device: found)
    monkeypatch.setattr(gpu_run, "Prepared", Making)

    def go(plan: Plan = PLAN, limit_s: float | None = None, **named: Any) -> dict[str, Any]:
        places = Places(tmp_path / "out" / "gpu.json", tmp_path / "work")
        results = gpu_run.run(
            plan, places, SilentProgress(), deadline=Deadline(limit_s), **named
        )
        assert json.loads(places.out.read_text()) == results.report
        return results.report

    return go


def rows_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (case,) = report["cases"]
    return {row["name"]: row for row in case["rows"]}


def test_every_candidate_gets_a_row_or_a_reason(
    going: Callable[..., dict[str, Any]], machine: Machine
) -> None:
    provider = Entry(Form.PLAIN, Runtime.ORT_CUDA, FP16)
    report = going(replace(PLAN, entries=(*PLAN.entries, provider)))
    rows = rows_of(report)
    assert set(rows) == {ANCHOR.name, OURS.name, PLAIN.name, COMPILED.name, provider.name}
    assert rows[PLAIN.name]["error"] == "onnxsim crashed"
    assert rows[provider.name]["error"] == "no such provider"
    assert not rows[OURS.name]["error"]
    assert report["unfinished"] is False
    # Two beside the anchor, of which one has no graph; then the rest.
    groups = [group["candidates"] for group in report["cases"][0]["groups"]]
    assert groups == [[ANCHOR.name, OURS.name], [ANCHOR.name, COMPILED.name]]


def test_a_stopped_run_goes_on(
    going: Callable[..., dict[str, Any]], machine: Machine, tmp_path: Path
) -> None:
    machine.stop_at = COMPILED.name
    with pytest.raises(KeyboardInterrupt):
        going()
    held = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert held["unfinished"]
    assert set(rows_of(held)) == {ANCHOR.name, OURS.name, PLAIN.name}
    machine.stop_at, machine.log = "", []
    report = going()
    assert set(rows_of(report)) == {ANCHOR.name, OURS.name, PLAIN.name, COMPILED.name}
    assert [line for line in machine.log if line.startswith("open")] == [
        f"open {ANCHOR.name}",
        f"open {COMPILED.name}",
    ]
    # A run that ended, or one at another pace, is made anew.
    for plan in (PLAN, replace(PLAN, pace=replace(PACE, rounds=5))):
        machine.log = []
        going(plan)
        assert f"open {OURS.name}" in machine.log


def test_what_failed_is_tried_again_when_asked(
    going: Callable[..., dict[str, Any]], machine: Machine
) -> None:
    machine.fails = {OURS.name: "the driver was busy"}
    machine.stop_at = COMPILED.name
    with pytest.raises(KeyboardInterrupt):
        going()
    machine.fails = {}
    with pytest.raises(KeyboardInterrupt):
        going()
    assert f"open {OURS.name}" not in machine.log[3:]
    machine.stop_at = ""
    assert not rows_of(going(retry=True))[OURS.name]["error"]


def test_time_runs_out_cleanly(going: Callable[..., dict[str, Any]], machine: Machine) -> None:
    report = going(limit_s=10)
    assert report["unfinished"]
    assert report["cases"][0]["groups"] == []
    assert machine.log == []


def test_who_finds_no_memory_is_timed_alone(
    going: Callable[..., dict[str, Any]], machine: Machine
) -> None:
    machine.fails_beside = {COMPILED.name: "out of memory"}
    other = Entry(Form.FITTED, Runtime.CUDA_GRAPH, FP16)
    report = going(replace(PLAN, entries=(ANCHOR, OURS, COMPILED, other)))
    rows = rows_of(report)
    assert not any(row["error"] for row in rows.values())
    groups = [group["candidates"][1:] for group in report["cases"][0]["groups"]]
    assert groups == [[OURS.name, COMPILED.name], [other.name], [COMPILED.name]]


def test_without_a_reference_everything_has_the_reason(
    going: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, case: Case) -> None:
        raise RunnerError("the GPU fell off the bus")

    monkeypatch.setattr(gpu_run.Run, "expect", fail)
    rows = rows_of(going())
    assert {row["error"] for row in rows.values()} == {"the GPU fell off the bus"}
    assert len(rows) == len(PLAN.entries)


def test_plans_that_do_not_run_here_are_not_timed(
    going: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    def ask(kind: str, *_: Any) -> Reply:
        return Reply("?", kind, "9.0", built=True, deserialised=False, error="not for SM90")

    monkeypatch.setattr(gpu_run, "ask", ask)
    rtx = Entry(Form.FITTED, Runtime.RTX, FP16)
    report = going(replace(PLAN, entries=(ANCHOR, rtx)))
    assert rows_of(report)[rtx.name]["error"] == "not for SM90"
    assert [question["kind"] for question in report["questions"]] == ["default", "current"]
    table = questions_table(report).rows
    assert table[0][1:] == ("no, on compute capability 9.0: not deserialised", "not for SM90")


def test_answers_to_questions_say_which_step_failed() -> None:
    begun = Reply("?", "default")
    assert after(begun, "x").built is False
    reply = after(replace(begun, built=True, deserialised=True), "x")
    assert (reply.deserialised, reply.ran, reply.error) == (True, False, "x")
    ran = plain(replace(reply, kind="current", ran=True, error=""))
    assert runs_as([plain(reply), ran]) == "current"
    assert runs_as([plain(reply)]) == ""
    assert refusal([plain(reply), plain(reply)]) == "x"


def case_of(times_ms: dict[str, float]) -> dict[str, Any]:
    """The case that targets are of, in one timing group."""
    anchor = times_ms[ANCHOR.name]
    known = {entry.name: entry for entry in ENTRIES}
    rows = [
        row_of(
            known[name],
            group=1,
            times={s: {"p50": took, "p90": took, "p99": took} for s in SERIES},
            speedup=anchor / took,
            relative_error=took / 1000,
            agreement=0.99,
            settings={"version": "11.1"},
        )
        for name, took in times_ms.items()
    ]
    rows.append(row_of(COMPILED, error="no Triton | at all"))
    found: dict[str, Any] = plain(
        {"variant": "b1", "task": "classify", "size": "224x224", "batch": 1, "rows": rows}
    )
    return found


def report_of(times_ms: dict[str, float]) -> dict[str, Any]:
    cases = [case_of(times_ms)]
    environment = {"cpu": "Any", "gpu": {"name": "H", "driver": "580"}, "date": "2026-01-02"}
    return {
        "environment": {**environment, "versions": {"torch": "2.11"}},
        "survey": {"gpu": {"name": "Any H100"}, "cuda": "13.0", "versions": {"triton": "3"}},
        "plan": plain(PLAN),
        "questions": [],
        "cases": cases,
        "targets": judge(cases),
    }


TIMES = {ANCHOR.name: 12.0, OURS.name: 2.0, PLAIN.name: 2.2}


def test_targets_are_ratios_of_rows() -> None:
    found = judge([case_of(TIMES)])
    judged = {(row["ours"], row["other"]): row for row in found}
    to_eager = judged[OURS.name, ANCHOR.name]
    assert (to_eager["ratio"], to_eager["least"], to_eager["met"]) == (6.0, 5.0, True)
    to_plain = judged[OURS.name, PLAIN.name]
    assert to_plain["ratio"] == pytest.approx(1.1)
    assert (to_plain["met"], to_plain["same_group"]) == (False, True)
    assert judged[OURS.name, COMPILED.name]["ratio"] is None
    # Rows of two timing groups are compared by way of the anchor, which each timing group has.
    case = case_of(TIMES)
    case["rows"][2] |= {"group": 2, "speedup": 3.0}
    other = {(row["ours"], row["other"]): row for row in judge([case])}[OURS.name, PLAIN.name]
    assert other["ratio"] == pytest.approx(2.0)
    assert (other["ratio_with_copies"], other["same_group"]) == (None, False)
    assert all(row["met"] is None for row in judge([]))


def test_tables_and_charts_show_what_ran_and_why_the_rest_did_not(tmp_path: Path) -> None:
    report = report_of(TIMES)
    shown = performance(report)
    assert f"| {OURS.name} | 2 | 6.00 | 2 | 2e-03 | 0.9900 |" in shown
    assert "Any H100, driver 580; CUDA 13.0, torch 2.11, triton 3, TensorRT 11.1" in shown
    assert COMPILED.name not in shown
    assert "no Triton" in everything(report)
    rows = {row[0]: row[1:] for row in targets_table(report).rows}
    assert rows[f"{OURS.name}, to {PLAIN.name}"] == ("1.2", "1.10 missed", "1.10")
    assert draw(report, tmp_path / "gpu.png")
    assert not draw({**report, "cases": []}, tmp_path / "none.png")
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.png"]


def test_this_machine_says_what_cannot_run_and_why() -> None:
    found = look(CUDA)
    assert set(found["obstacles"]) == set(Runtime)
    if not torch.cuda.is_available():
        assert all(found["obstacles"].values())
        assert found["gpu"] is None
        assert "no CUDA device" in found["obstacles"][Runtime.EAGER]
    stand_ins = look(CPU)["obstacles"]
    assert [name for name, reason in stand_ins.items() if not reason] == [
        Runtime.EAGER,
        Runtime.ORT_CPU,
    ]


def test_options_become_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [shape.name for shape in choose_shapes("segment-512x512-b8,classify-224x224")] == [
        "classify-224x224",
        "segment-512x512-b8",
    ]
    assert len(choose_shapes("")) == 6
    with pytest.raises(UsageError, match="no case 'segment-3x3'"):
        choose_shapes("segment-3x3")
    chosen = choose_entries(CUDA, ["torch.compile fp16"], trt8=False)
    assert [entry.name for entry in chosen][:2] == [ANCHOR.name, COMPILED.name]
    with pytest.raises(UsageError, match="'nonsense'"):
        choose_entries(CUDA, ["nonsense"], trt8=False)
    asked: list[Any] = []

    def run(plan: Plan, places: Places, *_: Any, **named: Any) -> Results:
        asked.append((plan, places, named))
        return Results(tmp_path / "gpu.json", report_of(TIMES), "mark")

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.chdir(tmp_path)
    words = ["gpu.py", "--variants", f"b1,{TINY_FILE}", "--rounds", "3", "--trt8", "libs"]
    monkeypatch.setattr(sys, "argv", words)
    gpu.main()
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick", "--time-limit", "60"])
    gpu.main()
    (plan, places, _), (quick, scratch, named) = asked
    assert [variant.name for variant in plan.variants] == ["b1", "tiny"]
    assert plan.pace.rounds == 3
    assert {entry.runtime for entry in plan.entries} == set(Runtime) - {Runtime.ORT_CPU}
    assert places.library == Path("libs")
    assert (scratch.out, quick.shapes) == (gpu.SCRATCH, quick_of(PLAN).shapes)
    assert 0 < named["deadline"].left_s <= 60
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--variants", "b9"])
    with pytest.raises(SystemExit):
        gpu.main()


def test_what_was_not_prepared_is_not_made(tmp_path: Path) -> None:
    case = Case(TINY, *SMALL)
    closed = Prepared(tmp_path, SilentProgress(), closed=True)
    with pytest.raises(HrvitDeployError, match="it was not prepared"):
        closed.graph(case, OURS)
    made = Prepared(tmp_path, SilentProgress())
    path = made.path(case, OURS)

    def fail() -> None:
        raise ExportError("onnxsim crashed")

    with pytest.raises(ExportError):
        made.file(path, fail)
    with pytest.raises(HrvitDeployError, match="onnxsim crashed"):
        Prepared(tmp_path, SilentProgress(), closed=True).graph(case, OURS)
    # The same rewrites are one graph, whoever runs it.
    assert made.path(case, PLAIN) == made.path(case, replace(PLAIN, runtime=Runtime.ORT_CUDA))
    assert made.path(case, PLAIN) != path


@pytest.mark.slow
def test_the_whole_script_over_stand_ins(tmp_path: Path) -> None:
    entries = entries_for(CPU)[:2]
    pace = Pace(rounds=2, turn_s=0.001, per_group=3, pause_s=0)
    plan = Plan((TINY,), entries, (SMALL._replace(batch=2),), CPU, pace)
    places = Places(tmp_path / "gpu.json", tmp_path / "work")
    report = gpu_run.run(plan, places, SilentProgress()).report
    assert not report["unfinished"]
    rows = rows_of(report)
    assert list(rows) == [entry.name for entry in entries]
    for row in rows.values():
        assert row["error"] == ""
        assert row["relative_error"] < 1e-4
        assert row["agreement"] == 1
        assert row["times"][DEVICE_MS]["runs"] == 2 * row["settings"]["runs_a_turn"]
        assert row["times"][DEVICE_MS]["p50"] <= row["times"][DEVICE_MS]["p99"]
    assert rows[REFERENCE.name]["speedup"] == 1
    assert draw(report, tmp_path / "gpu.png")
    assert "eager fp32" in everything(report)
    # What was made is taken as it is: a graph of that batch, and not one of any.
    (case,) = plan.cases()
    taken = Prepared(places.work / "graphs", SilentProgress(), closed=True).graph(
        case, entries[1]
    )
    assert open_artefact(taken).manifest.inputs[0].batch == 2
    assert onnxruntime.InferenceSession(taken).get_outputs()[0].shape[0] == 2
