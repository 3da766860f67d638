"""The service as it is started, under the load of a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.small_artefacts import artefact

FOLDER = Path(__file__).parents[2] / "examples" / "service"


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_nothing_is_lost_under_load(tmp_path: Path) -> None:
    model, out = artefact(tmp_path).path, tmp_path / "load.json"
    # Runs wait for more than there are places, so that places fill up however slow it is.
    sizes = ("--requests", "16", "--at-once", "8", "--places", "8")
    sharing = ("--batch", "16", "--delay-ms", "150")

    ran = run("load.py", str(model), *sizes, *sharing, "--out", str(out))

    assert ran.returncode == 0, ran.stderr
    found = json.loads(out.read_text())
    assert found["one_by_one"]["statuses"] == found["at_once"]["statuses"] == {"200": 16}
    assert set(found["overload"]["statuses"]) == {"200", "429"}
    assert sum(found["overload"]["statuses"].values()) == 32
    assert found["shutdown"] == {"under_way": 8, "answered": 8}
    for part in ("one_by_one", "at_once", "overload"):
        assert 0 < found[part]["p50_ms"] <= found[part]["p99_ms"]
        assert found[part]["answers_per_second"] > 0
    assert found["at_once"]["images_per_run"] > 1
    assert found["environment"]["cpu"]


def test_a_model_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path) -> None:
    ran = run("serve.py", str(tmp_path / "none.onnx"))
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: there is no ")
    assert len(ran.stderr.splitlines()) == 1
