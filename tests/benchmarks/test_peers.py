"""The comparison with every peer: what it writes, what it refuses, and where it goes on."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_onnx
from support.networks import TINY, TINY_FILE

from benchmarks.common import reports
from benchmarks.common.cases import Case
from benchmarks.common.forms import Form
from benchmarks.cpu import __main__ as peers
from benchmarks.cpu import targets as peer_targets
from benchmarks.cpu.candidates import DEVICE, EAGER, PEERS, Job, Peer, Runtime, candidate_of
from benchmarks.cpu.charts import draw_peers, draw_scaling
from benchmarks.cpu.engines import builds
from benchmarks.cpu.graphs import Graphs
from benchmarks.cpu.matmul_limit import best_rates, flops, limit_at, product_jobs, product_name
from benchmarks.cpu.tables import (
    cpu_table,
    rtx_table,
    targets_table,
    variants_table,
    where,
)
from benchmarks.cpu.timing import Row, require_agreement, row_of
from benchmarks.cpu.worker import open_job
from hrvit_deploy.artefact import Artefact, plain
from hrvit_deploy.errors import ExportError, GateError, RunnerError
from hrvit_deploy.measure.latency.bench import BenchOptions, BenchResult
from hrvit_deploy.options import DECIDING, ImageSize, Task
from hrvit_deploy.progress import SilentProgress

ROOT = Path(__file__).parents[2]


PLAIN = Peer(Form.PLAIN, Runtime.ONNXRUNTIME)
OURS = Peer(Form.OURS, Runtime.ONNXRUNTIME)
TIMING = BenchOptions(rounds=2, runs=2, warmup=1, settle=1, pause_s=0)
PLAN = peers.Plan(
    variant=TINY,
    tasks=(Task.SEGMENT,),
    sizes=dict.fromkeys(Task, ImageSize(32, 32)),
    peers=(EAGER, PLAIN, OURS),
    threads=1,
    timing=TIMING,
    products=(48,),
    builds=1,
    pixels=(ImageSize(32, 32),),
    batches=(),
    scaling_peers=(EAGER, OURS),
    scaling_timing=TIMING,
)


def cpu_case(medians: dict[str, float | None]) -> dict[str, Any]:
    """A case of the cpu section, of 2 GFLOP at 100 GFLOP/s: 20 ms at the limit."""
    limit = limit_at(10**9, [{"library": "torch", "side": 64, "gflops": 100.0}])
    known = {peer.name: peer for peer in PEERS}
    rows = [
        row_of(
            known[name],
            BenchResult(name, error="it died")
            if median is None
            else BenchResult(
                name,
                p50_ms=median,
                ratio=median / 80,
                times_ms=(median, median),
                settings=dict.fromkeys(("max_abs_error", "relative_error"), 1e-6)
                | {"first_run_s": 1.0},
            ),
            limit,
            1,
        )
        for name, median in medians.items()
    ]
    counted = {"trained": 10**9, "ours": 8 * 10**8}
    about = {"task": "classify", "size": "224x224", "batch": 1, "multiply_adds": counted}
    found: dict[str, Any] = plain({**about, "limit": limit, "rates": [limit], "rows": rows})
    return found


def build(form: str, number: int, seconds: float, layers: int) -> dict[str, Any]:
    about = {"task": "classify", "size": "224x224", "form": form, "round": number, "error": ""}
    return {**about, "nodes": 9, "layers": layers, "seconds": seconds, "plan_bytes": 2**21}


def sections() -> dict[str, Any]:
    about = {
        "environment": {
            "cpu": "Any CPU",
            "date": "2026-01-02",
            "versions": {"torch": "2"},
        },
        "variant": "b1",
        "threads": 2,
        "fingerprint": "",
    }
    medians: dict[str, float | None] = {
        "eager": 80.0,
        "torch.compile": None,
        PLAIN.name: 60.0,
        OURS.name: 24.0,
    }
    seconds = [("plain", 10.0), ("ours", 5.0), ("ours fitted", 4.0)]
    seconds += [("plain", 12.0), ("ours", 7.0), ("plain", 30.0)]
    counts = {"plain": 1000, "ours": 400, "ours fitted": 300}
    builds = [build(form, i, took, counts[form]) for i, (form, took) in enumerate(seconds)]
    grown = {**cpu_case(medians), "axis": "pixels"}
    return {
        "cpu": {**about, "rows": [cpu_case(medians)]},
        "rtx": {**about, "rows": builds},
        "scaling": {**about, "rows": [grown, {**grown, "axis": "batch"}]},
    }


def target(found: list[dict[str, Any]], figure: str, other: str) -> dict[str, Any]:
    (one,) = (
        row
        for row in found
        if (row["figure"], row["other"], row["task"]) == (figure, other, "classify")
        and row["form"] == "ours"
        and "OpenVINO" not in row["ours"]
    )
    return one


def test_ratios_are_of_medians() -> None:
    found = peer_targets.judge(sections())
    speed = target(found, "median_ms", PLAIN.name)
    assert (speed["ratio"], speed["most"], speed["met"]) == (24 / 60, 0.5 * 1.05, True)
    assert target(found, "median_ms", "eager")["ratio"] == pytest.approx(0.3)
    assert target(found, "layers", "plain")["ratio"] == 0.4
    assert target(found, "layers", "plain")["met"] is False
    # The medians of three and of two builds.
    assert target(found, "seconds", "plain")["ratio"] == 6 / 12
    assert all(row["met"] is None for row in found if row["task"] == "segment")


def test_shares_are_of_the_best_product() -> None:
    results = {
        product_name(runtime, side): BenchResult("any", times_ms=times)
        for runtime, side, times in (
            (Runtime.MATMUL, 64, (4.0, 2.0)),
            (Runtime.MATMUL, 128, (9.0,)),
            (Runtime.ONNXRUNTIME, 64, (3.0,)),
            (Runtime.ONNXRUNTIME, 128, ()),
            (Runtime.OPENVINO, 64, ()),
            (Runtime.OPENVINO, 128, ()),
        )
    }
    rates = best_rates(results, (64, 128))
    assert [rate["library"] for rate in rates] == ["torch", "onnxruntime"]
    assert rates[0]["side"] == 128
    assert rates[0]["gflops"] == pytest.approx(flops(128) / 9.0 / 1e6)
    limit = limit_at(flops(128) // 2, rates)
    assert limit is not None
    assert limit["ms"] == pytest.approx(9.0)
    assert limit_at(1, []) is None
    row = cpu_case({"eager": 80.0})["rows"][0]
    assert row["share"] == pytest.approx(20 / 80)


def test_a_candidate_that_differs_is_refused() -> None:
    about = {"runtime": "any", "form": "ours", "asked": "f32"}
    good = Row("good", **about, precision="f32", relative_error=1e-4)  # type: ignore[arg-type]
    bad = replace(good, name="bad", relative_error=2e-3)
    require_agreement([good, replace(bad, precision="bf16"), Row("gone", **about, error="x")])  # type: ignore[arg-type]
    with pytest.raises(GateError, match=r"bad by 2\.0e-03"):
        require_agreement([good, bad])
    with pytest.raises(GateError, match="by nan"):
        require_agreement([replace(good, relative_error=float("nan"))])


def opened(job: Job, folder: Path) -> dict[str, Any]:
    runner, inputs = open_job(candidate_of("any", job, folder, 1).message)
    assert set(inputs) == {"image"}
    runner.close()
    return runner.settings


def test_candidates_are_held_against_the_answer_expected(tmp_path: Path) -> None:
    jobs = product_jobs((32,), tmp_path)
    assert len(jobs) == 3
    for job in jobs.values():
        assert opened(job, tmp_path)["relative_error"] < 1e-5
    with np.load(job.probe) as held:
        arrays = dict(held)
    arrays["logits"][3, 4] += np.float32(arrays["logits"].std())
    np.savez(job.probe, **arrays)
    settings = opened(job, tmp_path)
    assert settings["relative_error"] == pytest.approx(1, rel=0.05)
    assert settings["max_abs_error"] > 0.5
    np.savez(job.probe, **{**arrays, "logits": arrays["logits"][1:]})
    with pytest.raises(RunnerError, match="shape"):
        opened(job, tmp_path)
    with pytest.raises(RunnerError, match="no such operator"):
        opened(replace(job, reason="no such operator"), tmp_path)


class Given(Graphs):
    """Graphs of a few nodes, and one that cannot be made."""

    def graph(self, case: Case, form: Form, runtime: str) -> Artefact:
        assert runtime == "tensorrt-rtx"
        if form is Form.FITTED:
            raise ExportError("onnxsim crashed")
        return tiny_onnx.artefact(self.folder, tiny_onnx.graph())


def test_engines_are_built_in_turn_from_where_a_run_stopped(tmp_path: Path) -> None:
    case = Case(TINY, Task.SEGMENT, ImageSize(32, 32))
    found = list(builds(case, 2, 1, Given(tmp_path, SilentProgress())))
    forms = ["ours", "ours fitted", "plain", "ours", "ours fitted"]
    assert [row.form for row in found] == forms
    assert [row.round for row in found] == [0, 0, 1, 1, 1]
    for row in found:
        if row.form == "ours fitted":
            assert (row.layers, row.error) == (None, "onnxsim crashed")
            continue
        assert row.error == ""
        assert row.layers is not None
        assert row.layers > 5
        assert row.seconds is not None
        assert row.seconds > 0
        assert row.plan_bytes is not None
        assert row.plan_bytes > 1000
        assert row.version
    rows = peer_targets.summarize_builds(plain(found))
    assert [row["builds"] for row in rows] == [2, 0, 1]


class Stage:
    """Stands in for measuring: counts, and stops where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.fails: dict[str, BaseException] = {}
        monkeypatch.setattr(peers, "measure", self.measure)

    def measure(self, case: Any, *_: Any, **named: Any) -> dict[str, Any]:
        self.asked.append(case.name)
        if case.name in self.fails:
            raise self.fails[case.name]
        return {**cpu_case({"eager": 80.0}), **case.key}


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, out = Stage(monkeypatch), tmp_path / "peers.json"
    plan = replace(PLAN, tasks=DECIDING)
    cases = [case.name for case in plan.cases()]
    stage.fails[cases[1]] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        peers.run(plan, ("cpu", "scaling"), out, SilentProgress())
    held = json.loads(out.read_text())
    assert [row["task"] for row in held["sections"]["cpu"]["rows"]] == ["classify"]
    assert held["unfinished"] == ["cpu", "scaling"]

    stage.asked, stage.fails = [], {}
    peers.run(plan, ("cpu", "scaling"), out, SilentProgress())
    grown = [case.name for _, case in plan.scaling()]
    assert stage.asked == [cases[1], *grown]
    assert json.loads(out.read_text())["unfinished"] == []

    # A run that ended is made anew; other sections stay.
    stage.asked = []
    peers.run(plan, ("cpu",), out, SilentProgress())
    assert stage.asked == cases
    assert len(json.loads(out.read_text())["sections"]["scaling"]["rows"]) == len(grown)


def test_cases_grow_in_pixels_and_in_images() -> None:
    plan = replace(PLAN, batches=(1, 4))
    grown = [(axis, case.name) for axis, case in plan.scaling()]
    assert grown == [
        ("pixels", "tiny-segment-32x32"),
        ("batch", "tiny-classify-32x32"),
        ("batch", "tiny-classify-32x32-b4"),
    ]
    assert [case.name for case in peers.Plan().cases()] == [
        "b1-classify-224x224",
        "b1-segment-512x512",
    ]


def test_another_plan_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, out = Stage(monkeypatch), tmp_path / "peers.json"
    stage.fails["tiny-segment-32x32"] = KeyboardInterrupt()
    plan = replace(PLAN, tasks=DECIDING)
    with pytest.raises(KeyboardInterrupt):
        peers.run(plan, ("cpu",), out, SilentProgress())
    stage.asked, stage.fails = [], {}
    peers.run(replace(plan, threads=2), ("cpu",), out, SilentProgress())
    assert len(stage.asked) == 2


def test_nothing_is_written_of_a_refused_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, out = Stage(monkeypatch), tmp_path / "peers.json"
    stage.fails["tiny-segment-32x32"] = GateError("not the same network")
    with pytest.raises(GateError):
        peers.run(PLAN, ("cpu",), out, SilentProgress())
    assert not out.exists()


def test_one_graph_for_all_may_miss_by_a_twentieth() -> None:
    measured = sections()
    for build in measured["rtx"]["rows"]:
        if build["form"] != "plain":
            build["layers"] = 365
    found = peer_targets.judge(measured)
    met = {
        row["form"]: (row["ratio"], row["met"])
        for row in found
        if (row["figure"], row["task"]) == ("layers", "classify")
    }
    assert met == {"ours": (0.365, True), "ours fitted": (0.365, False)}


def test_tables_say_what_failed_and_why() -> None:
    table = cpu_table(sections())
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["eager"] == ("80.0", "1.00", "25 %", "1e-06")
    assert cells["torch.compile"] == ("failed", "-", "-", "-")
    assert cells["the machine's limit"][:3] == ("20.0", "0.25", "100 %")
    assert "torch.compile failed: it died" in table.notes
    assert "2026-01-02" in where(sections())
    built = {row[0]: row[1:] for row in rtx_table(sections()).rows}
    assert built["plain"] == ("1,000", "12.0", "2.0")
    assert built["ours"] == ("400", "6.0", "2.0")
    assert built["ours to plain"] == ("0.40", "0.50", "1.00")
    lines = targets_table(sections()).markdown().splitlines()
    assert len(lines) == 2 + 2 * len(peer_targets.TARGETS)
    about = "| latency in onnxruntime, to plain, onnxruntime | classify | 0.50"
    assert f"{about} | 0.40 | - |" in lines
    assert any(line.endswith("| classify | 0.35 | 0.40 missed | 0.30 |") for line in lines)


def test_charts_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    draw_peers(sections(), tmp_path / "peers.png")
    draw_scaling(sections(), tmp_path / "scaling.png")
    draw_peers({}, tmp_path / "none.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["peers.png", "scaling.png"]


def test_numbers_stand_on_one_line() -> None:
    report = {"a": [1.5, -2e-05, 3], "b": ["x", 1], "c": [], "d": [[1], {"e": None}]}
    text = reports.on_few_lines(report)
    assert json.loads(text) == report
    assert '"a": [ 1.5, -2e-05, 3 ]' in text


def test_all_peers_compete_once() -> None:
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    assert names[0] == "eager"
    judged = {row[side] for row in peer_targets.judge({}) for side in ("ours", "other")}
    assert judged <= {*names, *Form}
    assert [peer.name for peer in PEERS if peer.precision is DEVICE] == [
        "plain, OpenVINO default",
        "ours, OpenVINO default",
        "ours fitted, OpenVINO default",
    ]


def test_options_become_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(*arguments: Any) -> peers.Results:
        asked.append(arguments)
        return peers.Results(tmp_path / "peers.json", arguments[0])

    monkeypatch.setattr(peers, "run", run)
    words = ["peers.py", "--variant", str(TINY_FILE), "--tasks", "segment", "--rounds", "20"]
    monkeypatch.setattr(sys, "argv", [*words, "--sections", "cpu,rtx"])
    peers.main()
    monkeypatch.setattr(sys, "argv", [*words, "--quick"])
    peers.main()
    (plan, sections, out, _), (quick, every, scratch, _) = asked
    assert (plan.variant, plan.tasks, plan.timing.rounds) == (TINY, (Task.SEGMENT,), 20)
    assert (plan.threads, plan.peers, sections) == (2, PEERS, ("cpu", "rtx"))
    assert (out, scratch) == (peers.RESULTS, peers.SCRATCH)
    assert every == tuple(peers.SECTIONS)
    assert quick.variant == TINY
    assert quick.timing.rounds == 2
    assert "torch.compile" not in [peer.name for peer in quick.peers]
    monkeypatch.setattr(sys, "argv", ["peers.py", "--sections", "gpu"])
    with pytest.raises(SystemExit):
        peers.main()
    monkeypatch.setattr(sys, "argv", ["peers.py", "--variant", "b9"])
    with pytest.raises(SystemExit):
        peers.main()


def test_runtimes_are_chosen_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[peers.Plan] = []

    def run(plan: peers.Plan, *_: Any) -> peers.Results:
        asked.append(plan)
        return peers.Results(tmp_path / "peers.json", plan)

    monkeypatch.setattr(peers, "run", run)
    monkeypatch.setattr(sys, "argv", ["peers.py", "--runtimes", "onnxruntime"])
    peers.main()
    monkeypatch.setattr(sys, "argv", ["peers.py", "--runtimes", "onnx"])
    with pytest.raises(SystemExit):
        peers.main()

    assert [peer.name for peer in asked[0].peers] == [
        "eager",
        "plain, onnxruntime",
        "ours, onnxruntime",
        "ours fitted, onnxruntime",
    ]
    assert "no onnx: choose from eager, " in capsys.readouterr().err


def test_variants_stand_below_each_other() -> None:
    def report(variant: str, ours_ms: float | None) -> dict[str, Any]:
        medians = {"eager": 200.0, "plain, onnxruntime": 100.0, "ours, onnxruntime": ours_ms}
        rows = [{"name": name, "median_ms": median} for name, median in medians.items()]
        case = {"task": "classify", "size": "224x224", "rows": rows}
        return {"cpu": {"variant": variant, "rows": [case]}}

    table = variants_table({"b1": report("b1", 45.0), "b2": report("b2", None)})

    assert table.header[2:5] == (
        "eager, ms",
        "ours in onnxruntime",
        "ours fitted in onnxruntime",
    )
    assert [row[:5] for row in table.rows] == [
        ("b1", "classify 224x224", "200", "0.45", "-"),
        ("b2", "classify 224x224", "200", "-", "-"),
    ]


@pytest.mark.slow
def test_the_whole_script(tmp_path: Path) -> None:
    out, progress = tmp_path / "peers.json", SilentProgress()
    peers.run(PLAN, ("cpu", "scaling"), out, progress)
    report = json.loads(out.read_text())
    (case,) = report["sections"]["cpu"]["rows"]
    assert (case["task"], case["size"], case["batch"]) == ("segment", "32x32", 1)
    assert case["multiply_adds"]["trained"] > case["multiply_adds"]["ours"] / 2 > 0
    eager, theirs, ours = case["rows"]
    for row in case["rows"]:
        assert row["error"] == ""
        assert row["precision"] == "f32"
        assert row["relative_error"] < 1e-4
        assert row["ratio"] == pytest.approx(row["median_ms"] / eager["median_ms"])
        assert row["share"] == pytest.approx(case["limit"]["ms"] / row["median_ms"])
        assert len(row["round_ms"]) == 2
    speed = next(row for row in report["targets"] if row["task"] == "segment")
    assert (speed["ours"], speed["other"]) == (ours["name"], theirs["name"])
    assert speed["ratio"] == pytest.approx(ours["median_ms"] / theirs["median_ms"])
    (larger,) = report["sections"]["scaling"]["rows"]
    assert (larger["axis"], larger["batch"], len(larger["rows"])) == ("pixels", 1, 2)
    assert larger["limit"]["gflops"] == case["limit"]["gflops"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "peers.json",
        "peers.png",
        "scaling.png",
    }
