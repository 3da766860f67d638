"""Written folders pass the type checks that templates cannot: what they import is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import serving

from hrvit_deploy.embed.python.folder import embed_python
from hrvit_deploy.embed.triton.repository import embed_triton


def check(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Run mypy, for the oldest Python it knows, over files by their names in the folder."""
    configuration = folder / "mypy.ini"
    configuration.write_text(
        "[mypy]\nstrict = True\nwarn_unused_ignores = False\n"
        "[mypy-onnxruntime.*]\nignore_missing_imports = True\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--config-file", str(configuration)]
    return subprocess.run(
        [*mypy, "--cache-dir", str(folder / "cache"), *names],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_python_program_is_typed(tmp_path: Path) -> None:
    folder = embed_python(serving.segmenter(tmp_path), tmp_path / "app")
    done = check(folder, "hrvit_app")
    assert done.returncode == 0, done.stdout
    session = folder / "hrvit_app" / "session.py"
    session.write_text(session.read_text("utf-8").replace("softmax(scores)", "softmax()"))
    assert "Missing positional argument" in check(folder, "hrvit_app").stdout


@pytest.mark.parametrize("step", ["prepare", "decide"])
def test_tritons_steps_are_typed(tmp_path: Path, step: str) -> None:
    made = embed_triton(serving.segmenter(tmp_path), tmp_path / "out")
    version = made / "models" / f"small-{step}" / "1"
    done = check(version, "model.py", "standalone")
    assert done.returncode == 0, done.stdout
