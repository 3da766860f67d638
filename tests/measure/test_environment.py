"""The environment says what is there, and None for what is not."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from hrvit_deploy.measure import environment


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder alone on the path, for a fake nvidia-smi."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def say(folder: Path, text: str, code: int = 0) -> None:
    script = folder / "nvidia-smi"
    script.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\necho "{text}"\nexit {code}\n')
    script.chmod(0o755)


@pytest.mark.usefixtures("smi")
def test_a_machine_without_a_gpu() -> None:
    found = environment.describe_environment("2026-01-31")
    assert found["date"] == "2026-01-31"
    assert found["gpu"] is None
    assert found["python"] == platform.python_version()
    assert found["affinity"] == sorted(os.sched_getaffinity(0))
    assert found["usable_cores"] >= 1
    assert found["memory_mib"] > 100
    assert found["cpu"]
    assert json.loads(json.dumps(found)) == found


def test_versions_are_of_what_is_installed() -> None:
    versions = environment.describe_environment("")["versions"]
    assert versions["numpy"] == version("numpy")
    assert "onnxruntime" in versions
    assert all(versions.values())


def test_a_gpu_is_described(smi: Path) -> None:
    say(smi, "NVIDIA L4, 570.86.15, 23034")
    assert environment.describe_gpu() == {
        "name": "NVIDIA L4",
        "driver": "570.86.15",
        "memory_mib": 23034,
    }
    assert "--id=0" in (smi / "asked").read_text()


def test_the_gpu_asked_after_is_the_visible_one(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-4f, GPU-11")
    say(smi, "512")
    assert environment.gpu_used_mib() == 512
    assert "--id=GPU-4f" in (smi / "asked").read_text()


@pytest.mark.parametrize(("text", "code"), [("No devices were found", 0), ("", 0), ("1", 9)])
def test_a_driver_that_finds_none_is_none(smi: Path, text: str, code: int) -> None:
    say(smi, text, code)
    assert environment.describe_gpu() is None
    if code:
        assert environment.gpu_used_mib() is None


def test_unknown_memory_is_none(smi: Path) -> None:
    say(smi, "[N/A]")
    assert environment.gpu_used_mib() is None
