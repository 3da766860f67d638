"""The TensorRT runner over a fake library and a fake GPU, and once over real ones."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from support.fake_cuda import Error, FakeRuntime
from support.fake_tensorrt import CudaGraphStrategy, Runtime, RuntimeConfig, fake_tensorrt

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
from hrvit_deploy.errors import ArtefactError, MissingDependency, RunnerError, UsageError
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import Backend, ImageSize, OutputFormat, Precision, Task
from hrvit_deploy.runners.protocol import NodeTime
from hrvit_deploy.runners.tensorrt.device_array import contiguous_strides, device_array
from hrvit_deploy.runners.tensorrt.runner import TensorRTRunner

FULL = (2, 3, 4, 4)


def plan(folder: Path, words: str = "", **engine: Any) -> Artefact:
    """A plan whose bytes are words that the fake library understands."""
    path = folder / "tiny-trt.plan"
    path.write_bytes(words.encode())
    facts: dict[str, Any] = {
        "backend": "tensorrt",
        "version": "10.16.1.11",
        "compute_capabilities": ("8.9",),
    }
    facts |= engine
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


def engine() -> Any:
    """The one opened last."""
    assert Runtime.last is not None
    return Runtime.last


def nothing_left(cuda: FakeRuntime) -> bool:
    return not cuda.live and not cuda.streams and not cuda.graphs


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
    assert engine().contexts[0].borrowed == [array.address]


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
    found = device_array("images", held, stream=7)
    assert found is not None
    assert found.dtype == np.float32
    assert device_array("images", array, stream=7) is None


def test_bfloat16_is_known_by_its_owner(cuda: FakeRuntime) -> None:
    held = OnDevice(cuda, images(*FULL, dtype=ml_dtypes.bfloat16))
    found = device_array("images", held, stream=7)
    assert found is not None
    assert found.dtype == ml_dtypes.bfloat16


def test_a_thousand_runs_leave_nothing(tmp_path: Path, cuda: FakeRuntime) -> None:
    with opened(plan(tmp_path, "dynamic half"), cuda) as runner:
        runner.run({"images": images(1, 3, 4, 4, dtype=np.float16)})
        held = len(cuda.live)
        for turn in range(1000):
            runner.run({"images": images(1 + turn % 4, 3, 4, 4, dtype=np.float16)})
        assert len(cuda.live) == held
        assert len(cuda.graphs) == 4
    assert nothing_left(cuda)


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
        ("dynamic refuses", r"shape \(4, 3, 4, 4\) was refused"),
    ],
)
def test_a_plan_that_does_not_open_leaves_nothing(
    tmp_path: Path, cuda: FakeRuntime, words: str, said: str
) -> None:
    with pytest.raises(RunnerError, match=said):
        opened(plan(tmp_path, words), cuda)
    assert nothing_left(cuda)


def test_a_full_gpu_leaves_nothing(tmp_path: Path, cuda: FakeRuntime) -> None:
    cuda.failing["cudaMallocHost"] = Error.cudaErrorMemoryAllocation
    with pytest.raises(RunnerError, match="could not pin") as caught:
        opened(plan(tmp_path), cuda)
    assert "smaller batch" in caught.value.hint
    assert nothing_left(cuda)


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


def test_what_runs_again_is_captured(runner: TensorRTRunner, cuda: FakeRuntime) -> None:
    for turn in range(5):
        answer = runner.run({"images": images(*FULL) + turn})["logits"]
        np.testing.assert_array_equal(answer, (images(*FULL) + turn) * 2)
        # Run, run and captured, then launched.
        assert len(cuda.launched) == max(0, turn - 1)
    assert len(cuda.graphs) == 1
    # Both runs and the capture went through the library; launches do not.
    assert len(engine().contexts[0].borrowed) == 3
    assert runner.settings["cuda_graphs"] == "captured for each shape"


def test_each_shape_has_a_context_and_a_graph(tmp_path: Path, cuda: FakeRuntime) -> None:
    with opened(plan(tmp_path, "dynamic"), cuda) as runner:
        for _ in range(3):
            for batch in (1, 3, 2, 4):
                array = images(batch, 3, 4, 4)
                given = runner.run({"images": array})["logits"]
                np.testing.assert_array_equal(given, array * 2)
        assert len(cuda.graphs) == len(engine().contexts) == 4
        assert len(cuda.launched) == 4
        # A graph reads what its context left on the GPU: no other shape may come there.
        assert all(len(context.shapes) == 1 for context in engine().contexts)
        # They work in one memory.
        assert len({context.scratch for context in engine().contexts}) == 1
    assert nothing_left(cuda)


def test_only_so_many_shapes_and_graphs_are_kept(
    tmp_path: Path, cuda: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrvit_deploy.runners.tensorrt.execution.MOST_CONTEXTS", 2)
    monkeypatch.setattr("hrvit_deploy.runners.tensorrt.cuda_graphs.MOST_GRAPHS", 2)
    with opened(plan(tmp_path, "dynamic"), cuda) as runner:
        for batch in (1, 1, 2, 2, 3, 3):
            runner.run({"images": images(batch, 3, 4, 4)})
        assert len(cuda.graphs) == 2
        lent = [OnDevice(cuda, images(3, 3, 4, 4)) for _ in range(4)]
        for array in lent * 2:
            runner.run({"images": array})
        # Four that take turns are too many to keep, and none is there when it comes again.
        assert len(cuda.graphs) == 1
    assert len(cuda.live) == 4
    assert not cuda.graphs


def test_graphs_can_be_left_out(tmp_path: Path, cuda: FakeRuntime) -> None:
    with opened(plan(tmp_path), cuda, cuda_graphs=False) as runner:
        for _ in range(4):
            runner.run({"images": images(*FULL)})
        assert not cuda.graphs
        assert runner.settings["cuda_graphs"] == "off"


@pytest.mark.parametrize(
    "call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_what_cannot_be_captured_runs_all_the_same(
    runner: TensorRTRunner, cuda: FakeRuntime, call: str
) -> None:
    cuda.failing[call] = Error.cudaErrorStreamCaptureUnsupported
    feed = {"images": images(*FULL)}
    runner.run(feed)
    with pytest.warns(RuntimeWarning, match=r"without CUDA graphs: .*Unsupported"):
        answer = runner.run(feed)["logits"]
    for _ in range(3):  # and says so once
        np.testing.assert_array_equal(answer, runner.run(feed)["logits"])
    np.testing.assert_array_equal(answer, images(*FULL) * 2)
    assert runner.settings["cuda_graphs"].startswith("off: CUDA could not")
    assert not cuda.graphs
    assert cuda.last is Error.cudaSuccess, "the next call would be told of it"


def test_a_run_that_fails_in_a_capture_leaves_the_stream_usable(
    runner: TensorRTRunner, cuda: FakeRuntime
) -> None:
    feed = {"images": images(*FULL)}
    runner.run(feed)
    engine().pause = lambda: setattr(engine(), "fails", True)
    with pytest.warns(RuntimeWarning, match="the GPU is on fire"):
        runner.run(feed)
    assert not cuda.graphs
    engine().fails, engine().pause = False, lambda: None
    np.testing.assert_array_equal(runner.run(feed)["logits"], images(*FULL) * 2)


def test_lent_memory_has_a_graph_of_its_own(runner: TensorRTRunner, cuda: FakeRuntime) -> None:
    first, second = OnDevice(cuda, images(*FULL)), OnDevice(cuda, images(*FULL) + 1)
    for _ in range(3):
        for array, expected in ((first, images(*FULL) * 2), (second, (images(*FULL) + 1) * 2)):
            np.testing.assert_array_equal(runner.run({"images": array})["logits"], expected)
    assert len(cuda.launched) == 2


def test_rtx_captures_by_itself_in_one_context(tmp_path: Path, cuda: FakeRuntime) -> None:
    artefact = plan(tmp_path, "dynamic", backend="tensorrt-rtx", version="1.7.1.116")
    for wanted in (True, False):
        with opened(artefact, cuda, version="1.7.1.116", cuda_graphs=wanted) as runner:
            for batch in (1, 1, 1, 3):
                array = images(batch, 3, 4, 4)
                answer = runner.run({"images": array})["logits"]
                np.testing.assert_array_equal(answer, array * 2)
            (context,) = engine().contexts
            choices = context.strategy
            assert isinstance(choices, RuntimeConfig)
            strategy = CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            assert (choices.cuda_graph_strategy is strategy) is wanted
            assert choices.cache is not None
            expected = "as TensorRT-RTX sees fit" if wanted else "off"
            assert runner.settings["cuda_graphs"] == expected
            assert runner.name == "tensorrt-rtx"
        assert not cuda.launched
        assert nothing_left(cuda)


def test_eight_threads_share_a_runner(tmp_path: Path, cuda: FakeRuntime) -> None:
    with opened(plan(tmp_path, "dynamic"), cuda, concurrency=3) as runner:
        assert len(engine().contexts) == 1, "others are made when they are needed"
        engine().pause = lambda: time.sleep(0.001)

        def ask(turn: int) -> bool:
            array = images(1 + turn % 4, 3, 4, 4) + turn
            return bool((runner.run({"images": array})["logits"] == array * 2).all())

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(200)))
        assert len(cuda.streams) == 3
        assert runner.settings["contexts"] == 3
    assert nothing_left(cuda)


def test_closing_waits_for_those_who_run(tmp_path: Path, cuda: FakeRuntime) -> None:
    runner = opened(plan(tmp_path), cuda, concurrency=1)
    inside, go_on = Event(), Event()

    def pause() -> None:
        inside.set()
        assert go_on.wait(5)

    engine().pause = pause
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(runner.run, {"images": images(*FULL)})
        assert inside.wait(5)
        waiting = pool.submit(runner.run, {"images": images(*FULL)})
        closing = pool.submit(runner.close)
        # Who waits for a turn is told; who runs may end.
        with pytest.raises(RunnerError, match="closed"):
            waiting.result(5)
        assert not closing.done()
        go_on.set()
        assert running.result(5)["logits"].shape == FULL
        closing.result(5)
    assert nothing_left(cuda)


def test_no_runs_at_once_are_refused(tmp_path: Path, cuda: FakeRuntime) -> None:
    with pytest.raises(UsageError, match="0 runs at a time"):
        opened(plan(tmp_path), cuda, concurrency=0)


def test_answers_stay_on_the_gpu(runner: TensorRTRunner, cuda: FakeRuntime) -> None:
    held = len(cuda.live)
    given = [
        runner.run_on_device({"images": images(*FULL) + turn})["logits"] for turn in range(4)
    ]
    # Each is its own, although a graph writes to one place.
    assert cuda.launched
    for turn, answer in enumerate(given):
        assert answer.shape == FULL
        assert answer.dtype == np.dtype(np.float32)
        np.testing.assert_array_equal(answer.numpy(), (images(*FULL) + turn) * 2)
    interface = given[0].__cuda_array_interface__
    assert interface["data"] == (given[0].address, False)
    assert given[0].__dlpack_device__() == (2, 0)
    # They outlive the runner, and are freed with the last of them.
    runner.close()
    assert len(cuda.live) == 4
    assert held
    lent = given[3].__dlpack__()
    del answer, given
    gc.collect()
    assert len(cuda.live) == 1, "a capsule keeps its array"
    del lent
    gc.collect()
    assert nothing_left(cuda)


def test_an_answer_on_the_gpu_is_taken_as_an_input(
    runner: TensorRTRunner, cuda: FakeRuntime
) -> None:
    first = runner.run_on_device({"images": images(*FULL)})["logits"]
    copied = cuda.copied
    second = runner.run({"images": first})["logits"]
    np.testing.assert_array_equal(second, images(*FULL) * 4)
    assert cuda.copied - copied == second.nbytes
    with pytest.raises(BufferError, match="lent where it lies"):
        first.__dlpack__(copy=True)


@pytest.mark.gpu
def test_a_real_plan_on_a_real_gpu(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from hrvit_deploy.artefact import sha256_of
    from hrvit_deploy.engines.build import build_engine
    from hrvit_deploy.options import BuildOptions
    from hrvit_deploy.progress import SilentProgress

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
        Artefact(path, manifest),
        tmp_path,
        BuildOptions(precision=Precision.FP32),
        SilentProgress(),
    )
    with TensorRTRunner(built) as runner, ThreadPoolExecutor(8) as pool:
        array = images(*FULL)
        for answer in pool.map(lambda _: runner.run({"images": array})["logits"], range(1000)):
            np.testing.assert_allclose(answer, array @ weights, rtol=1e-4, atol=1e-3)
        assert "off" not in runner.settings["cuda_graphs"]
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("this torch has no CUDA")
        lent = torch.from_numpy(array).cuda()
        for _ in range(4):
            held = torch.from_dlpack(runner.run_on_device({"images": lent})["logits"])
            np.testing.assert_allclose(held.cpu(), array @ weights, rtol=1e-4, atol=1e-3)
