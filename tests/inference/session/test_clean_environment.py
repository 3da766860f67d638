"""What a service gets: environments with a runtime and without PyTorch.

One environment is made, by the commands in an embedded folder's README; then the package
is installed into it with the extra ``runtime``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import serving

import hrvit_deploy
from hrvit_deploy.embed.python.folder import embed_python

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
ASKED = """
import json, sys
import numpy as np
import hrvit_deploy

with hrvit_deploy.load(sys.argv[1]) as session:
    np.save("labels.npy", session("photo.png"))
    told = {"name": session.name, "classes": len(session.classes)}
try:
    hrvit_deploy.load(sys.argv[1], provider="openvino")
except hrvit_deploy.HrvitDeployError as error:
    told["missing"] = [error.message, error.hint]
told["there"] = []
for name in ("torch", "onnx", "onnxsim", "ml_dtypes", "openvino", "matplotlib"):
    try:
        __import__(name)
    except ImportError:
        continue
    told["there"].append(name)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose README's commands were run, word for word."""
    work = tmp_path_factory.mktemp("clean")
    artefact = serving.segmenter(work)
    folder = embed_python(artefact, work / "app")
    Image.fromarray(serving.pictures(1)[0]).save(folder / "photo.png")
    # The README asks for a photo.jpg; a PNG keeps every pixel as it is.
    shutil.copyfile(folder / "photo.png", folder / "photo.jpg")
    (commands,) = re.findall(
        r"```sh\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S
    )
    run(folder, "sh", "-euxc", commands)
    return folder


def run(folder: Path, *command: str) -> str:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))
    }
    # ``python3`` is the one that runs these tests.
    clean["PATH"] = f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{clean['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(folder: Path) -> Any:
    with hrvit_deploy.load(folder.parent / "small.onnx") as session:
        return session(folder / "photo.png")


def test_an_embedded_folder_runs_by_its_own_commands(embedded: Path) -> None:
    labels = Image.open(embedded / "predictions" / "photo-labels.png")
    np.testing.assert_array_equal(np.asarray(labels), expected(embedded))
    with Image.open(embedded / "predictions" / "photo-overlay.png") as overlay:
        assert overlay.size == labels.size


def test_a_session_runs_without_pytorch(embedded: Path, tmp_path: Path) -> None:
    # Building leaves files behind, which do not belong into this tree.
    shutil.copytree(
        ROOT / "hrvit_deploy",
        tmp_path / "hrvit_deploy",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert "runtime" in tomllib.load(file)["project"]["optional-dependencies"]
    python = str(embedded / ".venv" / "bin" / "python")
    run(embedded, python, "-m", "pip", "install", "--quiet", f"{tmp_path}[runtime]")
    (embedded / "ask.py").write_text(ASKED, encoding="utf-8")

    told = json.loads(run(embedded, python, "ask.py", str(embedded.parent / "small.onnx")))

    assert told["there"] == []
    assert (told["name"], told["classes"]) == ("onnxruntime-cpu", serving.CLASSES)
    message, hint = told["missing"]
    assert "OpenVINO cannot be imported" in message
    assert "hrvit-deploy[openvino]" in hint
    np.testing.assert_array_equal(np.load(embedded / "labels.npy"), expected(embedded))
    # And the command line says what it needs to export.
    command = str(embedded / ".venv" / "bin" / "hrvit-deploy")
    assert "Usage" in run(embedded, command, "--help")
