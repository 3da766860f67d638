"""The TensorRT runner over a fake library and a fake GPU, and once over real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from fake_cuda import Error, FakeRuntime
from fake_tensorrt import Runtime, fake_tensorrt
from numpy.typing import NDArray

from hrvit_deploy.artefact import (
    Artefact,
    Engine,
    Kind,
    Manifest,
    Network,
    Preparation,
    TensorInfo,
    Weights,
)
from hrvit_deploy.bindings.cuda_ import Cuda
from hrvit_deploy.errors import ArtefactError, MissingDependency, RunnerError
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import Backend, ImageSize, OutputFormat, Precision, Task
from hrvit_deploy.runners.device_array import contiguous_strides, device_array
from hrvit_deploy.runners.protocol import NodeTime
from hrvit_deploy.runners.tensorrt_ import TensorRTRunner

FULL = (2, 3, 4, 4)


def plan(folder: Path, words: str = "", **engine: Any) -> Artefact:
    """A plan whose bytes are words that the fake library understands."""
    path = folder / "tiny-trt.plan"
    path.write_bytes(words.encode())
    facts = {"version": "10.16.1.11", "compute_capabilities": ("8.9",)} | engine
    tensor = TensorInfo("images", FULL, "float32", "NCHW")
    return Artefact(
        path,
        Manifest(
            kind=Kind.PLAN,
            sha256="",
            network=Network(VARIANTS["b1"], Task.SEGMENT, 3, Weights.RANDOM),
            precision=Precision.FP32,
            output_format=OutputFormat.LOGITS,
            inputs=(tensor,),
            outputs=(replace(tensor, name="logits"),),
            preparation=Preparation(ImageSize(32, 32)),
            versions={},
            options={},
            engine=Engine(
                backend="tensorrt",
                layers={},
                products={},
                weight_bytes=0,
                build_seconds=1.0,
                **facts,
            ),
        ),
    )


def with_options(artefact: Artefact, **options: Any) -> Artefact:
    return replace(artefact, manifest=replace(artefact.manifest, options=options))


@pytest.fixture
def cuda() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def runner(tmp_path: Path, cuda: FakeRuntime) -> Iterator[TensorRTRunner]:
    with opened(plan(tmp_path), cuda) as made:
        yield made


def opened(
    artefact: Artefact, cuda: FakeRuntime, version: str = "10.16.1.11", **options: Any
) -> TensorRTRunner:
    return TensorRTRunner(artefact, trt=fake_tensorrt(version), cuda=Cuda(cuda), **options)


def images(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    count = int(np.prod(shape))
    return np.arange(count).astype(dtype).reshape(shape)


class OnDevice:
    """An array in the fake GPU's memory that speaks the interface."""

    def __init__(self, cuda: FakeRuntime, array: NDArray[Any], offset: int = 0) -> None:
        self.address = Cuda(cuda).malloc(array.nbytes + offset) + offset
        stream = cuda.cudaStreamCreate()[1]
        cuda.cudaMemcpyAsync(self.address, array.ctypes.data, array.nbytes, 4, stream)
        cuda.cudaStreamDestroy(stream)
        self.dtype = array.dtype
        self.__cuda_array_interface__: dict[str, Any] = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.address, False),
            "version": 3,
        }


def test_runs_and_hands_out_arrays_of_its_own(runner: TensorRTRunner) -> None:
    first = runner.run({"images": images(*FULL)})
    second = runner.run({"images": images(*FULL) + 1})
    np.testing.assert_array_equal(first["logits"], images(*FULL) * 2)
    np.testing.assert_array_equal(second["logits"], (images(*FULL) + 1) * 2)


def test_tells_what_each_layer_takes(runner: TensorRTRunner) -> None:
    feed = {"images": images(*FULL)}
    assert runner.node_times(feed, 3) == [NodeTime("double", "", 2.0)]
    # Runs after that are not watched any more.
    runner.run(feed)
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        runner.node_times(feed, 1)


def test_says_what_it_runs_on(runner: TensorRTRunner) -> None:
    assert (runner.name, runner.device) == ("tensorrt", "cuda")
    assert runner.settings["gpu"] == "Fake L4"
    assert runner.settings["compute_capability"] == "8.9"
    assert runner.settings["driver"].endswith("CUDA 13.1")


def test_views_that_are_not_contiguous_are_taken(runner: TensorRTRunner) -> None:
    strided = images(2, 4, 4, 3).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(runner.run({"images": strided})["logits"], strided * 2)


def test_a_dynamic_batch_takes_up_to_its_largest(tmp_path: Path, cuda: FakeRuntime) -> None:
    with opened(plan(tmp_path, "dynamic"), cuda) as runner:
        for batch in (4, 1, 3):
            array = images(batch, 3, 4, 4)
            np.testing.assert_array_equal(runner.run({"images": array})["logits"], array * 2)
        with pytest.raises(RunnerError, match=r"up to \(4, 3, 4, 4\)"):
            runner.run({"images": images(5, 3, 4, 4)})
        with pytest.raises(RunnerError, match="the plan takes"):
            runner.run({"images": images(0, 3, 4, 4)})


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"pictures": images(*FULL)}, "takes images, not pictures"),
        ({}, "takes images, not nothing"),
        ({"images": images(*FULL), "more": images(1)}, "not images, more"),
        ({"images": images(1, 3, 4, 4)}, r"is float32 \(1, 3, 4, 4\), the plan takes float32"),
        ({"images": images(*FULL)[0]}, "the plan takes"),
        ({"images": images(*FULL, dtype=np.float64)}, "is float64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    runner: TensorRTRunner, inputs: dict[str, Any], words: str
) -> None:
    with pytest.raises(RunnerError, match=words) as caught:
        runner.run(inputs)
    assert caught.value.hint


def test_device_arrays_are_read_where_they_lie(
    runner: TensorRTRunner, cuda: FakeRuntime
) -> None:
    array = OnDevice(cuda, images(*FULL))
    copied = cuda.copied
    answer = runner.run({"images": array})["logits"]
    np.testing.assert_array_equal(answer, images(*FULL) * 2)
    assert cuda.copied - copied == answer.nbytes, "only the answer was copied"
    assert Runtime.last is not None
    assert Runtime.last.contexts[0].borrowed == [array.address]


def test_device_arrays_are_waited_for(runner: TensorRTRunner, cuda: FakeRuntime) -> None:
    array = OnDevice(cuda, images(*FULL))
    array.__cuda_array_interface__["stream"] = 7
    runner.run({"images": array})
    assert cuda.synchronized[0] == 7


def test_a_misaligned_slice_is_copied_on_the_gpu(
    runner: TensorRTRunner, cuda: FakeRuntime
) -> None:
    array = OnDevice(cuda, images(*FULL), offset=4)
    np.testing.assert_array_equal(runner.run({"images": array})["logits"], images(*FULL) * 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strides": (4, 8, 32, 128)}, "not contiguous"),
        ({"mask": object()}, "masked"),
        ({"shape": (1, 3, 4, 4)}, "the plan takes"),
        ({"typestr": "<f2"}, "is float16"),
    ],
)
def test_device_arrays_that_do_not_fit_are_refused(
    runner: TensorRTRunner, cuda: FakeRuntime, changes: dict[str, Any], words: str
) -> None:
    array = OnDevice(cuda, images(*FULL))
    array.__cuda_array_interface__ |= changes
    with pytest.raises(RunnerError, match=words):
        runner.run({"images": array})


def test_contiguous_strides_may_be_spelled_out(cuda: FakeRuntime) -> None:
    array = images(*FULL)
    assert contiguous_strides(array.shape, 4) == array.strides
    assert contiguous_strides((), 4) == ()
    held = OnDevice(cuda, array)
    held.__cuda_array_interface__["strides"] = array.strides
    found = device_array("images", held)
    assert found is not None
    assert found.dtype == np.float32
    assert device_array("images", array) is None


def test_bfloat16_is_known_by_its_owner(cuda: FakeRuntime) -> None:
    held = OnDevice(cuda, images(*FULL, dtype=ml_dtypes.bfloat16))
    found = device_array("images", held)
    assert found is not None
    assert found.dtype == ml_dtypes.bfloat16


def test_a_thousand_runs_leave_nothing(tmp_path: Path, cuda: FakeRuntime) -> None:
    with opened(plan(tmp_path, "dynamic half"), cuda) as runner:
        runner.run({"images": images(1, 3, 4, 4, dtype=np.float16)})
        held = len(cuda.live)
        for turn in range(1000):
            runner.run({"images": images(1 + turn % 4, 3, 4, 4, dtype=np.float16)})
        assert len(cuda.live) == held
    assert not cuda.live
    assert not cuda.streams


def test_closed_is_closed(runner: TensorRTRunner, cuda: FakeRuntime) -> None:
    runner.close()
    runner.close()
    assert not cuda.live
    with pytest.raises(RunnerError, match="closed"):
        runner.run({"images": images(*FULL)})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("broken", "cannot open .*tiny-trt.plan: magic tag does not match"),
        ("cramped", "cannot make room"),
        ("dynamic refuses", "its own profile"),
    ],
)
def test_a_plan_that_does_not_open_leaves_nothing(
    tmp_path: Path, cuda: FakeRuntime, words: str, said: str
) -> None:
    with pytest.raises(RunnerError, match=said):
        opened(plan(tmp_path, words), cuda)
    assert not cuda.live
    assert not cuda.streams


def test_a_full_gpu_leaves_nothing(tmp_path: Path, cuda: FakeRuntime) -> None:
    cuda.failing["cudaMallocHost"] = Error.cudaErrorMemoryAllocation
    with pytest.raises(RunnerError, match="could not pin") as caught:
        opened(plan(tmp_path), cuda)
    assert "smaller batch" in caught.value.hint
    assert not cuda.live
    assert not cuda.streams


def test_a_failed_run_says_why_and_the_runner_still_closes(
    tmp_path: Path, cuda: FakeRuntime
) -> None:
    runner = opened(plan(tmp_path, "fails"), cuda)
    with pytest.raises(RunnerError, match="could not run the plan: the GPU is on fire"):
        runner.run({"images": images(*FULL)})
    runner.close()
    assert not cuda.live


def test_a_failed_copy_is_an_error(runner: TensorRTRunner, cuda: FakeRuntime) -> None:
    cuda.failing["cudaStreamSynchronize"] = Error.cudaErrorIllegalAddress
    with pytest.raises(RunnerError, match="cudaErrorIllegalAddress"):
        runner.run({"images": images(*FULL)})


def test_another_tensorrt_version_is_refused(tmp_path: Path, cuda: FakeRuntime) -> None:
    with pytest.raises(
        ArtefactError, match=r"built by TensorRT 10.16.1.11, 11.4.0.106 is"
    ) as e:
        opened(plan(tmp_path), cuda, version="11.4.0.106")
    assert "build-trt" in e.value.hint
    assert not cuda.live


def test_a_version_compatible_plan_runs_later_if_its_code_may(
    tmp_path: Path, cuda: FakeRuntime
) -> None:
    compatible = with_options(plan(tmp_path), version_compatible=True)
    with pytest.raises(ArtefactError, match="carries code"):
        opened(compatible, cuda, version="10.17.0.1")
    with pytest.raises(ArtefactError, match="was built by"):
        opened(compatible, cuda, version="10.13.0.1", allow_host_code=True)
    opened(compatible, cuda, version="10.17.0.1", allow_host_code=True).close()


@pytest.mark.parametrize(
    ("built_for", "runs"),
    [
        (("8.9",), True),
        (("8.0", "8.6"), False),
        (("8.0+",), True),
        (("9.0",), False),
        (("12.0+",), False),
        ((), True),
    ],
)
def test_only_gpus_it_was_built_for(
    tmp_path: Path, cuda: FakeRuntime, built_for: tuple[str, ...], runs: bool
) -> None:
    artefact = plan(tmp_path, compute_capabilities=built_for)
    if runs:
        opened(artefact, cuda).close()
        return
    with pytest.raises(ArtefactError, match=r"the Fake L4 here has 8\.9"):
        opened(artefact, cuda)


def test_plans_that_cannot_run_are_refused(tmp_path: Path, cuda: FakeRuntime) -> None:
    with pytest.raises(ArtefactError, match="without its weights"):
        opened(with_options(plan(tmp_path), strip_weights=True), cuda)
    graph = plan(tmp_path)
    graph = replace(graph, manifest=replace(graph.manifest, kind=Kind.ONNX, engine=None))
    with pytest.raises(ArtefactError, match="not a plan"):
        opened(graph, cuda)


def test_no_gpu_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="finds no GPU"):
        opened(plan(tmp_path), FakeRuntime(gpus=0))


def test_no_library_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {Backend.TENSORRT: ("no_such_tensorrt",)}
    monkeypatch.setattr("hrvit_deploy.bindings.tensorrt_.MODULES", modules)
    with pytest.raises(MissingDependency, match="TensorRT does not load"):
        TensorRTRunner(plan(tmp_path))


@pytest.mark.gpu
def test_a_real_plan_on_a_real_gpu(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from hrvit_deploy.artefact import sha256_of
    from hrvit_deploy.engines.build import build_engine
    from hrvit_deploy.options import BuildOptions
    from hrvit_deploy.progress import Silent

    helper, floating = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["images", "matrix"], ["logits"], name="matmul")],
        "product",
        [helper.make_tensor_value_info("images", floating, list(FULL))],
        [helper.make_tensor_value_info("logits", floating, list(FULL))],
        [onnx.numpy_helper.from_array(weights, "matrix")],
    )
    path = tmp_path / "product.onnx"
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    manifest = replace(
        plan(tmp_path).manifest, kind=Kind.ONNX, engine=None, sha256=sha256_of(path)
    )
    built = build_engine(
        Artefact(path, manifest), tmp_path, BuildOptions(precision=Precision.FP32), Silent()
    )
    with TensorRTRunner(built) as runner:
        array = images(*FULL)
        for _ in range(1000):
            answer = runner.run({"images": array})["logits"]
        np.testing.assert_allclose(answer, array @ weights, rtol=1e-4, atol=1e-3)
