"""Candidates are plain data and refuse what cannot be run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hrvit_deploy.errors import UsageError
from hrvit_deploy.runners.spec import (
    InferencePrecision,
    Provider,
    RunnerKind,
    RunnerSpec,
)

FAST = InferencePrecision.DEVICE


def onnx(provider: Provider, **options: Any) -> RunnerSpec:
    return RunnerSpec("onnx", RunnerKind.ONNX, "a.onnx", provider, **options)


@pytest.mark.parametrize(
    "contender",
    [
        onnx(Provider.CUDA, threads=2),
        onnx(Provider.OPENVINO, inference_precision=FAST),
    ],
)
def test_a_contender_survives_json(spec: RunnerSpec) -> None:
    assert msgspec.json.decode(msgspec.json.encode(spec), type=RunnerSpec) == spec


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"batch": 0}])
def test_nothing_runs_on_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"eager cannot run"):
        RunnerSpec("eager", RunnerKind.EAGER, "a.onnx", **wrong)


def test_providers_know_their_device() -> None:
    assert {str(provider): provider.device for provider in Provider} == {
        "cpu": "cpu",
        "cuda": "cuda",
        "tensorrt": "cuda",
        "openvino": "cpu",
    }


def test_plans_run_on_a_gpu_whatever_is_said() -> None:
    assert RunnerSpec("plan", RunnerKind.PLAN, "a.plan").device == "cuda"
    assert RunnerSpec("onnx", RunnerKind.ONNX, "a.onnx").device == "cpu"


@pytest.mark.parametrize("provider", [p for p in Provider if p is not Provider.OPENVINO])
def test_only_openvino_is_told_what_to_compute_in(provider: Provider) -> None:
    with pytest.raises(UsageError, match=f"is for OpenVINO, .* {provider}") as caught:
        onnx(provider, inference_precision=FAST)
    assert "--provider openvino" in caught.value.hint


def test_onnxruntime_on_a_cpu_rounds_as_narrow_graphs_say() -> None:
    assert [str(provider) for provider in Provider if onnx(provider).emulates] == ["cpu"]
    assert not RunnerSpec("eager", RunnerKind.EAGER, "a.onnx").emulates
