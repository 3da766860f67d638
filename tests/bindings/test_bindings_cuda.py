from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fake_cuda import Error, FakeRuntime

from hrvit_deploy.bindings import cuda_
from hrvit_deploy.bindings.cuda_ import Cuda, Gpu, host_view
from hrvit_deploy.errors import MissingDependency, RunnerError


def test_the_gpu_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "version"
    told.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release"
    )
    monkeypatch.setattr(cuda_, "DRIVER_FILE", told)
    gpu = cuda_.describe(Cuda(FakeRuntime(capability=(12, 0))))
    assert gpu == Gpu("Fake L4", "12.0", "580.82.07, CUDA 13.1", 23 * 1024)
    monkeypatch.setattr(cuda_, "DRIVER_FILE", tmp_path / "none")
    assert cuda_.describe(Cuda(FakeRuntime())).driver == "CUDA 13.1"


@pytest.mark.parametrize(
    ("runtime", "status", "reason"),
    [
        (FakeRuntime(gpus=0), Error.cudaSuccess, "finds no GPU"),
        (FakeRuntime(), Error.cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver"),
        (FakeRuntime(), Error.cudaErrorNoDevice, "cudaErrorNoDevice"),
    ],
)
def test_no_gpu_has_a_reason(
    runtime: FakeRuntime, status: Error, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.failing["cudaGetDeviceCount"] = status
    monkeypatch.setattr(cuda_, "_runtime", lambda: runtime)
    survey = cuda_.survey()
    assert survey.gpu is None
    assert cuda_.gpu() is None
    assert reason in survey.reason
    assert survey.hint


def test_cuda_python_missing_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingDependency("cuda-python does not load", cuda_.INSTALL)

    monkeypatch.setattr(cuda_, "_runtime", missing)
    survey = cuda_.survey()
    assert survey.reason == "cuda-python does not load"
    assert "cuda-python" in survey.hint


def test_a_survey_never_raises() -> None:
    survey = cuda_.survey()
    assert (survey.gpu is None) == bool(survey.reason)


@pytest.mark.parametrize(
    ("capability", "listed", "runs"),
    [
        ("8.9", ("8.0", "8.9"), True),
        ("8.9", ("8.0", "8.6"), False),
        ("8.9", ("8.0+",), True),
        ("12.1", ("8.0", "12.0+"), True),
        ("9.0", ("8.0", "8.6", "8.9", "12.0+"), False),
        ("10.0", ("9.0+",), True),
    ],
)
def test_which_plans_a_gpu_runs(capability: str, listed: tuple[str, ...], runs: bool) -> None:
    assert Gpu("", capability, "", 0).runs(listed) is runs


def test_memory_goes_there_and_back() -> None:
    runtime = FakeRuntime()
    cuda = Cuda(runtime)
    stream, device, host = cuda.stream(), cuda.malloc(48), cuda.malloc_host(48)
    view = host_view(host, np.dtype(np.float32), (3, 4))
    view[...] = np.arange(12).reshape(3, 4)
    cuda.copy(device, host, 48, stream)
    view[...] = 0
    cuda.copy(host, device, 48, stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(view, np.arange(12).reshape(3, 4))
    cuda.free(device)
    cuda.free_host(host)
    cuda.destroy_stream(stream)
    assert not runtime.live
    assert not runtime.streams


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (Error.cudaErrorMemoryAllocation, "smaller batch"),
        (Error.cudaErrorInsufficientDriver, "driver"),
        (Error.cudaErrorIllegalAddress, "CUDA_LAUNCH_BLOCKING"),
    ],
)
def test_a_failed_call_says_what_and_how_to_mend_it(status: Error, hint: str) -> None:
    runtime = FakeRuntime()
    runtime.failing["cudaMalloc"] = status
    with pytest.raises(RunnerError, match=f"could not allocate 8 bytes .*: {status.name}") as e:
        Cuda(runtime).malloc(8)
    assert hint in e.value.hint


def test_a_stream_s_work_becomes_a_graph() -> None:
    runtime = FakeRuntime()
    cuda = Cuda(runtime)
    stream, device, host = cuda.stream(), cuda.malloc(8), cuda.malloc_host(8)
    values = host_view(host, np.dtype(np.float32), (2,))
    graph = cuda.capture(stream, lambda: cuda.copy(device, host, 8, stream))
    assert runtime.copied == 0, "captured work does not run"
    for value in (3, 5):
        values[...] = value
        cuda.launch(graph, stream)
        cuda.synchronize(stream)
        assert host_view(device, np.dtype(np.float32), (2,)).tolist() == [value, value]
    assert list(runtime.graphs) == [graph], "what it was made of is destroyed"
    cuda.destroy_graph(graph)
    assert not runtime.graphs


def uses_of_runtime(tree: ast.AST) -> dict[str, set[int]]:
    """What a source asks of the runtime, and with how many arguments it calls it."""
    found: dict[str, set[int]] = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("runtime"):
            found[node.attr] = set()
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.get(node.func.attr, set()).add(len(node.args))
    return found


def test_all_that_is_used_of_cuda_exists() -> None:
    from cuda.bindings import runtime

    uses = uses_of_runtime(ast.parse(inspect.getsource(cuda_)))
    # A reader that lost the thread would find nothing wrong.
    assert {"cudaGraphInstantiate", "cudaMallocHost", "cudaStreamCaptureMode"} <= set(uses)
    for name, calls in uses.items():
        real = getattr(runtime, name)
        for count in calls:
            assert len(inspect.signature(real).parameters) == count, name
    modes = runtime.cudaStreamCaptureMode
    assert modes.cudaStreamCaptureModeThreadLocal is not None
    assert runtime.cudaMemcpyKind.cudaMemcpyDefault is not None


def test_the_stand_in_has_nothing_that_cuda_has_not() -> None:
    from cuda.bindings import runtime

    ours: dict[str, Any] = {
        name: member for name, member in vars(FakeRuntime).items() if name.startswith("cuda")
    }
    assert len(ours) > 15
    for name, member in ours.items():
        real = getattr(runtime, name)
        if inspect.isfunction(member):
            parameters = list(inspect.signature(member).parameters)[1:]
            assert len(parameters) == len(inspect.signature(real).parameters), name
    assert {error.name for error in Error} <= set(runtime.cudaError_t.__members__)


@pytest.mark.gpu
def test_a_real_gpu_is_described() -> None:
    gpu = cuda_.gpu()
    assert gpu is not None
    assert gpu.name
    assert gpu.memory_mib > 0
