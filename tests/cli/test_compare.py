"""``compare`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import SMALL, Run
from support.labelled import ade20k

FAST = ("--rounds", "1", "--runs", "1")


def test_all_graphs_of_the_newest_ones_network_stand_side_by_side(
    run: Run, graph: Path, folder: Path
) -> None:
    data = ade20k(folder / "data")
    fewer = SMALL[: SMALL.index("5")]
    other = run("export", *fewer, "4", "--task", "segment", "--samples", "1", "--out", "other")
    assert other.code == 0, other.err
    made = run("export", *SMALL, "--task", "segment", "--precision", "fp16")
    assert made.code == 0, made.err

    ran = run("compare", "--data", str(data), "--json", *FAST)

    assert ran.code == 0, ran.err
    found = ran.json
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["eager", graph.stem, f"{graph.stem}-fp16"]
    assert (found["metric"], found["images"]) == ("miou", 3)
    full, half = rows[graph.stem], rows[f"{graph.stem}-fp16"]
    assert full["score"] == pytest.approx(rows["eager"]["score"], abs=1e-3)
    assert full["agreement"] >= 0.999
    assert half["size_mib"] < full["size_mib"]
    assert rows["eager"]["ratio"] == 1
    assert all(row["p50_ms"] > 0 for row in rows.values())
    assert json.loads(Path(found["artefact"]).read_text())["metric"] == "miou"

    ran = run("compare", str(graph), f"other/{graph.name}", *FAST)
    assert ran.code == 2
    assert "not of one network" in ran.err


def test_a_table_without_labels_has_no_accuracy(run: Run, graph: Path) -> None:
    ran = run("compare", str(graph), *FAST)
    assert ran.code == 0, ran.err
    assert graph.stem in ran.out
    assert "mIoU" not in ran.out
    assert "MiB" in ran.out


def test_nothing_to_compare_is_said(run: Run) -> None:
    ran = run("compare")
    assert ran.code == 1
    assert "hrvit-deploy export" in ran.err
