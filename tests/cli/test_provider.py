"""``--provider openvino`` as it is typed, on every command that runs graphs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from support import labelled, small_artefacts
from support.command_line import Run
from support.graph_making import SIZE, floats

from hrvit_deploy.artefact import Kind, open_artefact
from hrvit_deploy.export.stage import cast_artefact
from hrvit_deploy.options import Precision
from hrvit_deploy.progress import SilentProgress

SHORT = ("--rounds", "1", "--runs", "1")
OPENVINO = ("--provider", "openvino")
FAST = ("--inference-precision", "device")


@pytest.fixture
def small(folder: Path) -> str:
    """A graph that tells three colours apart."""
    return str(small_artefacts.artefact(folder).path)


@pytest.fixture
def colours(folder: Path) -> str:
    """Two images of each of three classes."""
    return str(labelled.imagenet(folder / "data", each=2))


def test_verify_in_openvino(run: Run, graph: Path) -> None:
    ran = run("verify", str(graph), *OPENVINO, "--samples", "2", "--json")

    assert ran.code == 0, ran.err
    assert (ran.json["candidate"], ran.json["reference"]) == ("openvino-cpu", "eager")
    assert 0 < ran.json["max_abs"] < 1e-4


def test_narrow_graphs_are_verified_as_openvino_runs_them(run: Run, graph: Path) -> None:
    """Nothing is rounded for it, and nothing is said to be."""
    narrow = graph.with_stem("narrow")
    images = [floats(1, 3, *SIZE)]
    cast_artefact(open_artefact(graph), narrow, Precision.FP16, images, SilentProgress())

    there = run("verify", str(narrow), *OPENVINO, "--samples", "1", "--json").json
    here = run("verify", str(narrow), "--samples", "1", "--json").json

    assert there["candidate"] == "openvino-cpu"
    assert here["candidate"] == "onnxruntime-cpu, every fp16 tensor rounded"
    assert there["mean_abs"] < here["mean_abs"]


def test_evaluate_and_predict_in_openvino(run: Run, small: str, colours: str) -> None:
    there = run("evaluate", small, "--data", colours, *OPENVINO, *FAST, "--json")
    here = run("evaluate", small, "--data", colours, "--json")
    seen = run("predict", small, colours, *OPENVINO, *FAST, "--json")

    assert there.code == seen.code == 0, there.err + seen.err
    assert there.json["runner"].startswith("openvino-cpu")
    assert here.json["runner"] == "onnxruntime-cpu"
    assert there.json["top1"] == here.json["top1"]
    assert len(seen.json["predictions"]) == 6


def test_compare_in_openvino(run: Run, graph: Path) -> None:
    ran = run("compare", str(graph), *OPENVINO, *FAST, *SHORT, "--json")

    assert ran.code == 0, ran.err
    told = ran.json["provider"], ran.json["inference_precision"]
    assert told == ("openvino", "device")
    assert [row["name"] for row in ran.json["rows"]] == ["eager", graph.stem]
    assert ran.json["rows"][1]["agreement"] > 0.9


@pytest.mark.parametrize(
    ("options", "providers"),
    [
        (("--against", "openvino", *FAST), ["openvino", "cpu"]),
        (OPENVINO, ["openvino"]),
    ],
)
def test_bench_in_openvino(
    run: Run, small: str, options: tuple[str, ...], providers: list[str]
) -> None:
    ran = run("bench", small, *options, *SHORT, "--threads", "1", "--json")

    assert ran.code == 0, ran.err
    rows = ran.json["results"]
    assert [row["name"] for row in rows] == ["openvino", "small"][-len(rows) :]
    assert [row["settings"]["provider"] for row in rows] == providers
    assert rows[0]["settings"]["threads"] == 1
    assert all(row["p50_ms"] > 0 for row in rows)


@pytest.mark.parametrize("command", ["verify", "evaluate", "predict", "compare"])
def test_without_openvino_it_is_said_what_to_install(
    run: Run, graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    data = labelled.ade20k(folder / "data", count=1)
    images = str(data / "images/validation")
    more = {"evaluate": ("--data", str(data)), "predict": (images,)}.get(command, ())

    ran = run(command, str(graph), *more, *OPENVINO, "--json")

    assert ran.code == 1
    assert "hrvit-deploy[openvino]" in ran.json["hint"]


@pytest.mark.parametrize("command", ["verify", "bench", "evaluate", "predict", "compare"])
def test_only_openvino_is_told_what_to_compute_in(
    run: Run, small: str, colours: str, command: str
) -> None:
    more = {"evaluate": ("--data", colours), "predict": (colours,)}.get(command, ())

    ran = run(command, small, *more, *FAST, "--json")

    assert ran.code == 2
    assert "is for OpenVINO" in ran.json["error"]
    assert "--provider openvino" in ran.json["hint"]


def test_openvino_is_no_peer_of_a_plan(run: Run, folder: Path) -> None:
    graph = small_artefacts.artefact(folder, kind=Kind.PLAN)
    plan = graph.path.with_suffix(".plan")
    shutil.move(graph.path, plan)

    ran = run("bench", str(plan), "--against", "openvino", "--json")

    assert ran.code == 2
    assert "OpenVINO runs graphs" in ran.json["error"]
