"""After a kill at any call that changes a folder: the old artefact or the new one, whole.

``python -m support.crashing`` in ``tests/`` tries every command, at every call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import crashing

pytestmark = pytest.mark.skipif(bool(crashing.unable()), reason=crashing.unable())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crashing.build(tmp_path_factory.mktemp("interposer"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.mark.parametrize("command", ["export", "calibrate", "embed", "embed in place"])
def test_a_kill_leaves_the_old_or_the_new(command: str, work: Path, library: Path) -> None:
    figures = crashing.Figures()
    prepared = work / command.replace(" ", "-")
    crashing.prepare(prepared, command)
    points = crashing.killed(command, prepared, work / "run", library, figures)
    assert figures.violations == []
    # It looked at something: before the work, at half of it, and at its end.
    assert points >= figures.states > 3


def test_a_full_disk_is_one_line(library: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "support.crashing", "calibrate"],
        cwd=Path(crashing.__file__).parents[1],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)["calibrate"]
    assert figures["violations"] == []
    assert figures["failures"] == figures["points"] > 5


def test_the_checks_see_what_is_broken(work: Path) -> None:
    folder = work / "broken"
    crashing.prepare(folder, "calibrate")
    old = crashing.tree(folder)
    assert crashing.violations(folder, old, old) == []
    graph = folder / "export" / f"{crashing.NAME}.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    found = crashing.violations(folder, old, old)
    assert any("does not open" in text for text in found)
    assert any("neither" in text for text in found)
