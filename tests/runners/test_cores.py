"""The default number of threads follows what the process may really use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hrvit_deploy.runners import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight logical CPUs on four physical cores, without a quota."""
    for cpu in range(8):
        (tmp_path / f"{cpu}").write_text(f"{cpu % 4},{cpu % 4 + 4}\n", encoding="ascii")
    monkeypatch.setattr(cores, "TOPOLOGY", f"{tmp_path}/{{}}")
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.usefixtures("machine")
def test_two_threads_of_a_core_count_once() -> None:
    assert cores.usable_cores() == 4


@pytest.mark.usefixtures("machine")
def test_affinity_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4}, raising=False)
    assert cores.usable_cores() == 2


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 4), ("900000 100000", 4)],
)
def test_a_quota_limits(machine: Path, quota: str, expected: int) -> None:
    (machine / "cpu.max").write_text(quota + "\n", encoding="ascii")
    assert cores.usable_cores() == expected


def test_without_topology_every_cpu_is_a_core(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "TOPOLOGY", f"{machine}/absent-{{}}")
    assert cores.usable_cores() == 8
