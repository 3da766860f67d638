"""Specs are plain values and refuse what cannot be run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import small_artefacts

from hrvit_deploy.artefact import Artefact, Kind, plain
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import InputFormat
from hrvit_deploy.runners.spec import (
    Implementation,
    InferencePrecision,
    Provider,
    RunnerSpec,
    RunOptions,
)

FAST = InferencePrecision.DEVICE


@pytest.fixture
def graph(tmp_path: Path) -> Artefact:
    return small_artefacts.artefact(tmp_path)


def as_plan(artefact: Artefact) -> Artefact:
    return replace(artefact, manifest=replace(artefact.manifest, kind=Kind.PLAN))


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(Provider.CUDA, threads=2, cuda_graphs=False),
        RunOptions(Provider.OPENVINO, inference_precision=FAST, checkpoint="a.pth"),
        RunOptions(implementation=Implementation.COMPILE, concurrency=3, save_memory=True),
    ],
)
def test_options_survive_json(options: RunOptions) -> None:
    assert msgspec.convert(plain(options), RunOptions) == options


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"concurrency": 0}])
def test_nothing_runs_on_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="0"):
        RunOptions(**wrong)


def test_no_batch_is_empty(graph: Artefact) -> None:
    with pytest.raises(UsageError, match="small cannot run a batch of 0"):
        RunnerSpec(graph, batch=0)


def test_providers_know_their_device() -> None:
    assert {str(provider): provider.device for provider in Provider} == {
        "cpu": "cpu",
        "cuda": "cuda",
        "tensorrt": "cuda",
        "openvino": "cpu",
    }


def test_plans_run_on_a_gpu_whatever_is_said(graph: Artefact) -> None:
    assert RunnerSpec(as_plan(graph)).device == "cuda"
    assert RunnerSpec(graph).device == "cpu"
    in_torch = RunOptions(implementation=Implementation.EAGER)
    assert RunnerSpec(as_plan(graph), in_torch).device == "cpu"
    assert RunnerSpec(graph, replace(in_torch, provider=Provider.CUDA)).device == "cuda"


@pytest.mark.parametrize("provider", [p for p in Provider if p is not Provider.OPENVINO])
def test_only_openvino_takes_an_inference_precision(provider: Provider) -> None:
    with pytest.raises(UsageError, match=f"is for OpenVINO, .* {provider}") as caught:
        RunOptions(provider, inference_precision=FAST)
    assert "--provider openvino" in caught.value.hint


def test_onnxruntime_on_a_cpu_rounds_as_narrow_graphs_say(graph: Artefact) -> None:
    emulating = [p for p in Provider if RunnerSpec(graph, RunOptions(p)).emulates]
    assert emulating == [Provider.CPU]
    assert not RunnerSpec(graph, RunOptions(implementation=Implementation.EAGER)).emulates
    assert not RunnerSpec(as_plan(graph)).emulates


@pytest.mark.parametrize(
    ("implementation", "name", "kind"),
    [("artefact", "small", "onnx"), ("eager", "eager", "eager"), ("compile",) * 3],
)
def test_a_spec_is_named_after_what_computes_it(
    graph: Artefact, implementation: str, name: str, kind: str
) -> None:
    spec = RunnerSpec(graph, RunOptions(implementation=Implementation(implementation)))
    assert (spec.name, spec.kind) == (name, kind)
    assert RunnerSpec(graph, name="another").name == "another"


def test_pytorch_takes_normalised_float32_whatever_the_graph_takes(graph: Artefact) -> None:
    manifest = graph.manifest
    uint8 = replace(
        graph,
        manifest=replace(
            manifest,
            preparation=replace(manifest.preparation, format=InputFormat.UINT8_NHWC),
            inputs=(replace(manifest.inputs[0], dtype="uint8"),),
        ),
    )
    for implementation in Implementation:
        spec = RunnerSpec(uint8, RunOptions(implementation=implementation))
        if implementation is Implementation.ARTEFACT:
            assert spec.preparation == uint8.manifest.preparation
            assert spec.input_dtype == "uint8"
        else:
            assert spec.preparation == manifest.preparation
            assert spec.input_dtype == "float32"
