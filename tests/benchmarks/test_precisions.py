"""The benchmark of precisions times and judges every way, on a network in seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.networks import TINY

from benchmarks.tables import precisions

ROOT = Path(__file__).parents[2]


def test_every_way_is_timed_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    tiny = ROOT / "examples" / "digit_scenes" / "hrvit_tiny.safetensors"
    monkeypatch.setattr(precisions, "CHECKPOINT", tiny)
    monkeypatch.setattr(precisions, "VARIANTS", {"b1": TINY})
    out = tmp_path / "made" / "precisions.json"
    words = ["precisions.py", "--quick", "--scenes", "3", "--sizes", "96x96", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)

    precisions.main()

    rows = json.loads(out.read_text())["sizes"]["96x96"]
    assert [row["name"] for row in rows] == [way.name for way in precisions.WAYS]
    assert rows[0]["name"] == "eager"
    assert rows[-1]["name"] == "int8 graph, OpenVINO default"
    for row in rows:
        assert row["error"] == ""
        assert row["images"] == 3
        assert row["median_ms"] > 0
        # Three scenes: a few pixels weigh.
        assert abs(row["miou"] - rows[0]["miou"]) < 0.05
    assert [file.name for file in out.parent.iterdir()] == ["precisions.json"]
