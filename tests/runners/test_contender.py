"""Contenders are plain data and refuse what cannot be run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hrvit_deploy.errors import UsageError
from hrvit_deploy.runners.contender import Contender, ContenderKind, Provider


def test_a_contender_survives_json() -> None:
    contender = Contender("onnx", ContenderKind.ONNX, "a.onnx", Provider.CUDA, threads=2)
    assert msgspec.json.decode(msgspec.json.encode(contender), type=Contender) == contender


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"batch": 0}])
def test_nothing_runs_on_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"eager cannot run"):
        Contender("eager", ContenderKind.EAGER, "a.onnx", **wrong)


def test_providers_know_their_device() -> None:
    assert [provider.device for provider in Provider] == ["cpu", "cuda", "cuda"]


def test_plans_run_on_a_gpu_whatever_is_said() -> None:
    assert Contender("plan", ContenderKind.PLAN, "a.plan").device == "cuda"
    assert Contender("onnx", ContenderKind.ONNX, "a.onnx").device == "cpu"
