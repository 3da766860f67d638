"""What runs graphs and plans on a GPU, over stand-ins: tensors are read where they lie."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support import fake_tensorrt, tiny_onnx
from support.networks import TINY
from support.tensorrt_releases import RTX, VERSIONS, check

from benchmarks.common.cases import Case
from benchmarks.common.forms import Form
from benchmarks.gpu import rtx_support
from benchmarks.gpu.candidates import CUDA, FP16, INT8, Entry, Job, Runtime
from benchmarks.gpu.graphs import Prepared
from benchmarks.gpu.runtimes import tensorrt8
from benchmarks.gpu.runtimes.onnxruntime_ import Session, with_options
from benchmarks.gpu.runtimes.tensorrt import Plan, PlanLaunch, find_plan
from benchmarks.gpu.runtimes.tensorrt8_graphs import (
    FLOAT32,
    OPSET,
    graph_for_trt8,
    without_norms,
)
from benchmarks.gpu.runtimes.torch_ import Capture
from hrvit_deploy import trained
from hrvit_deploy.errors import BuildError, ExportError, MissingDependency, RunnerError
from hrvit_deploy.options import ImageSize, Task
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.spec import Provider

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


ENTRY = Entry(Form.FITTED, Runtime.RTX, FP16)


def job_for(folder: Path, **changes: Any) -> Job:
    job = Job(
        entry=ENTRY,
        device=CUDA,
        network=Case(TINY, Task.CLASSIFY, ImageSize(32, 32)).request,
        size=(32, 32),
        batch=2,
        pictures="",
        expected="",
        book=str(folder / "book"),
        work=str(folder / "work"),
    )
    return replace(job, **changes)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A TensorRT that doubles, which takes what PyTorch's CPU allocator gives."""
    monkeypatch.setattr(
        fake_tensorrt.Context,
        "set_tensor_address",
        lambda self, name, address: bool(self.addresses.update({name: address}) or address),
    )
    return fake_tensorrt.fake_tensorrt()


def plan(folder: Path, content: bytes) -> Plan:
    path = folder / "tiny.plan"
    path.write_bytes(content)
    return Plan(path, {"version": "10"})


def test_a_plan_reads_and_writes_tensors_in_place(tmp_path: Path, fake: Any) -> None:
    image = torch.arange(96.0).reshape(2, *fake_tensorrt.SHAPE)
    launch = PlanLaunch(fake, plan(tmp_path, b"float"), image)
    assert not launch.answer.equal(image * 2)
    launch.launch()
    assert launch.answer.equal(image * 2)
    image += 1
    launch.launch()
    assert launch.answer.equal(image * 2)
    assert launch.settings == {"version": "10", "cuda_graph": False}
    launch.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"broken", "could not deserialise the plan: magic tag does not match"),
        (b"cramped", "could not make room"),
        (b"half", "the plan takes torch.float16"),
    ],
)
def test_a_plan_that_does_not_open_says_so_in_the_librarys_words(
    content: bytes, words: str, tmp_path: Path, fake: Any
) -> None:
    with pytest.raises(RunnerError, match=words):
        PlanLaunch(fake, plan(tmp_path, content), torch.zeros(2, *fake_tensorrt.SHAPE))


def test_a_plan_that_fails_while_it_runs_says_so(tmp_path: Path, fake: Any) -> None:
    image = torch.zeros(2, *fake_tensorrt.SHAPE)
    launch = PlanLaunch(fake, plan(tmp_path, b"fails"), image)
    with pytest.raises(RunnerError, match="could not run the plan: the GPU is on fire"):
        launch.launch()


def test_nothing_is_captured_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RunnerError, match="sees no CUDA device"):
        Capture(lambda: None)


def test_plans_are_built_once_and_again_from_another_graph(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    graph = tiny_onnx.artefact(tmp_path, tiny_onnx.graph(tiny_onnx.HALF), FP16)
    job = job_for(tmp_path, graph=str(graph.path))
    first = find_plan(job, trt)
    assert first.path.read_bytes()
    assert (first.about["built"], first.about["backend"]) == ("now", "TensorRT-RTX")
    assert find_plan(job, trt).about["built"] == "before"
    brought = find_plan(replace(job, plan=str(first.path), work=str(tmp_path / "no")), trt)
    assert (brought.path, brought.about["built"]) == (first.path, "before")
    # Brought from a machine that had another version, it is built again.
    sidecar = first.path.with_suffix(".json")
    sidecar.write_text(sidecar.read_text().replace('"version": "1.', '"version": "0.'))
    old = find_plan(replace(job, plan=str(first.path), work=str(tmp_path / "no")), trt)
    assert (old.about["built"], old.path == first.path) == ("now", False)
    wider = tiny_onnx.graph(tiny_onnx.HALF, batch=2)
    tiny_onnx.artefact(tmp_path, wider, FP16)
    assert find_plan(job, trt).about["built"] == "now"


def test_questions_are_answered_as_far_as_the_library_goes(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    graph = tiny_onnx.artefact(tmp_path, tiny_onnx.graph(tiny_onnx.HALF), FP16)
    job = job_for(tmp_path, graph=str(graph.path))
    default = rtx_support.walk(job)
    assert (default.built, default.deserialised, default.ran) == (True, False, None)
    assert "no CUDA device" in default.error
    # For the GPU at hand nothing is built where there is none, and it says why.
    current = rtx_support.walk(replace(job, current=True))
    assert (current.kind, current.built) == ("current", False)
    assert current.error


def problems_of(release: str, folder: Path) -> list[str]:
    """What the plans here use of TensorRT that a release has not."""
    found: list[str] = check(
        release, folder, [BENCHMARKS / "gpu" / "runtimes" / "tensorrt.py"]
    )["problems"]
    return found


@pytest.mark.parametrize("release", [*VERSIONS, RTX])
def test_all_that_is_used_of_tensorrt_exists(release: str, stubs: Path) -> None:
    found = problems_of(release, stubs)
    if release != RTX:
        # Only TensorRT-RTX builds for GPUs by name.
        found = [problem for problem in found if "ompute" not in problem]
    assert found == []


def test_a_session_reads_and_writes_tensors_in_place(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny_onnx.graph(), path)
    image = torch.rand(1, 3, tiny_onnx.SIDE, tiny_onnx.SIDE)
    session = Session(path, Provider.CPU, image, tmp_path)
    for _ in range(2):
        image += 1
        session.launch()
        expected = onnxruntime.InferenceSession(path).run(None, {"images": image.numpy()})[0]
        np.testing.assert_allclose(session.answer.numpy(), expected, rtol=1e-5)
    session.close()
    if not torch.cuda.is_available():
        with pytest.raises(MissingDependency, match="CUDAExecutionProvider"):
            Session(path, Provider.CUDA, image, tmp_path)
    path.write_bytes(b"no graph")
    with pytest.raises(RunnerError, match=r"cannot open tiny\.onnx"):
        Session(path, Provider.CPU, image, tmp_path)


def test_float32_stays_float32_in_every_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        cuda_stream = 4096

    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    (_, engine), (_, cuda), (_, cpu) = with_options(Provider.TENSORRT, tmp_path)
    assert (cuda["use_tf32"], cuda["user_compute_stream"], cpu) == ("0", "4096", {})
    assert (engine["trt_engine_cache_path"], "use_tf32" in engine) == (str(tmp_path), False)


def norm_graph(**attributes: Any) -> onnx.ModelProto:
    weights = [
        numpy_helper.from_array(np.linspace(0.5, 2, 8, dtype=np.float32), name)
        for name in ("gamma", "beta")
    ]
    node = helper.make_node(
        "LayerNormalization", ["x", "gamma", "beta"], ["y"], "norm", **attributes
    )
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4, 8]) for n in "xy"]
    graph = helper.make_graph([node], "norm", ends[:1], ends[1:], weights)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def test_norms_are_spelled_out_for_tensorrt_8() -> None:
    model = norm_graph(epsilon=1e-3)
    spelled = without_norms(model)
    assert "LayerNormalization" not in {node.op_type for node in spelled.graph.node}
    assert all(FLOAT32 in node.name for node in spelled.graph.node)
    x = np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32)
    expected, found = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"x": x})[0]
        for each in (model, spelled)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ExportError, match="more than the last axis"):
        without_norms(norm_graph(axis=1))


# Speaks as tensorrt8.cpp does.
PROGRAM = """
import json, sys
if "refuse" in sys.argv:
    print(json.dumps({"error": "TensorRT 8.5 built no plan: no such tactic"}), flush=True)
    sys.exit(1)
print(json.dumps({"version": "8.5.3"}), flush=True)
for line in sys.stdin:
    word, settle, count = line.split()
    if "die" in sys.argv and int(count) > 3:
        sys.exit("terminate called")
    names = ("device_ms", "host_ms", "device_copies_ms", "host_copies_ms")
    print(json.dumps({name: [2.0] * int(count) for name in names}), flush=True)
"""


def start(folder: Path, turn_s: float, *words: str) -> tensorrt8.Program:
    command = [sys.executable, "-c", PROGRAM, *words]
    return tensorrt8.Program(command, folder / "book", turn_s)


def test_a_program_takes_turns_like_the_others(tmp_path: Path) -> None:
    program = start(tmp_path, 0.02)
    # Two milliseconds a run.
    assert program.settings | {"warmup_s": 0} == {
        "version": "8.5.3",
        "clock": "CUDA events",
        "runs_a_turn": 10,
        "warmup_s": 0,
    }
    program.run({})
    (line,) = (tmp_path / "book").read_text().splitlines()
    assert json.loads(line)["host_copies_ms"] == [2.0] * 10
    program.close()
    program.close()
    with pytest.raises(RunnerError, match="no such tactic"):
        start(tmp_path, 0.02, "refuse")
    dying = start(tmp_path, 0.02, "die")
    with pytest.raises(RunnerError, match="died: terminate called"):
        dying.run({})


def test_what_tensorrt_8_needs_is_named_where_it_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    with pytest.raises(MissingDependency, match=r"no NvInfer\.h"):
        tensorrt8.compile_program(tmp_path, tmp_path)
    monkeypatch.setattr(tensorrt8, "find", lambda library, name: library / name)
    monkeypatch.setattr(tensorrt8, "find_cuda", lambda name: tmp_path / name)
    with pytest.raises(BuildError, match=r"does not compile: .*NvInfer\.h"):
        tensorrt8.compile_program(tmp_path, tmp_path / "work")


@pytest.mark.slow
def test_graphs_for_tensorrt_8_answer_as_the_network_does(tmp_path: Path) -> None:
    case = Case(TINY, Task.CLASSIFY, ImageSize(32, 32), batch=2)
    made = Prepared(tmp_path, SilentProgress())
    entry = Entry(Form.FITTED, Runtime.TRT8, FP16)
    image = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    float_, quantized = (
        onnxruntime.InferenceSession(graph_for_trt8(made, case, each)).run(
            None, {"image": image}
        )[0]
        for each in (entry, replace(entry, precision=INT8))
    )
    with torch.inference_mode():
        usual = trained.load(case.request).network(torch.from_numpy(image)).numpy()
    spread = float(usual.std())
    assert np.abs(float_ - usual).max() < 1e-4 * spread
    assert 1e-4 * spread < np.abs(quantized - usual).max() < 2 * spread
