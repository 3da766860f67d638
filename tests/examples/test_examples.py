"""Every example runs, and does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import TINY
from labelled import ade20k

SIZE = ("--size", "64")
EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), "--variant", str(TINY), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    import torch

    from hrvit_deploy.model.network import build_network, set_random_weights
    from hrvit_deploy.model.variants import load_variant
    from hrvit_deploy.options import Task

    network = build_network(load_variant(str(TINY)), Task.SEGMENT, 4)
    set_random_weights(network, 2)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def test_checkpoint_to_engine(checkpoint: Path, tmp_path: Path) -> None:
    out = run(
        "01_checkpoint_to_engine.py", str(checkpoint), "--size", "64", "--out", str(tmp_path)
    )

    assert "tiny to segment 4 classes" in out
    assert "passed: True" in out
    assert "float16" in out
    assert list(tmp_path.glob("engines/*.plan"))


def test_your_own_rewrite() -> None:
    assert "plain-final-norms: 6" in run("02_your_own_rewrite.py")


def test_your_own_variant(tmp_path: Path) -> None:
    out = run("03_your_own_variant.py", "--out", str(tmp_path))

    assert "tiny-shallow" in out
    assert list(tmp_path.glob("export/*tiny-shallow*.onnx"))


def test_int8(checkpoint: Path, tmp_path: Path) -> None:
    data = ade20k(tmp_path / "data", classes=4)
    images = data / "images" / "validation"

    out = run(
        "04_int8.py", str(checkpoint), str(images), str(data), *SIZE, "--out", str(tmp_path)
    )

    assert "ranges from 3 images" in out
    assert "miou" in out
    assert "layers" in out
    assert list(tmp_path.glob("engines/*-fp16-int8-rtx.plan"))


def test_every_example_is_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("[0-9]*.py"):
        assert f"]({path.name})" in listed
        assert f'"{path.name}"' in tested
