"""The onnxruntime runner feeds what fits, and says what does not."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BoundedSemaphore
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hrvit_deploy.errors import MissingDependency, RunnerError, UsageError
from hrvit_deploy.runners import onnxruntime_
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner
from hrvit_deploy.runners.spec import Provider

Shape = list[int | str]
APP = Path(onnxruntime_.__file__).parents[1] / "embed" / "python" / "app"


def save_graph(
    folder: Path,
    nodes: list[onnx.NodeProto],
    image: tuple[int, Shape],
    logits: tuple[int, Shape],
    constants: Sequence[TensorProto] = (),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", *image)],
        [helper.make_tensor_value_info("logits", *logits)],
        constants,
    )
    opset = helper.make_opsetid("", 20)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    path = folder / "graph.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """``logits = image + image`` over a dynamic batch of three numbers."""
    node = helper.make_node("Add", ["image", "image"], ["logits"])
    typed: tuple[int, Shape] = (TensorProto.FLOAT, ["batch", 3])
    return save_graph(tmp_path, [node], typed, typed)


def cast(folder: Path, taken: int, given: int) -> Path:
    node = helper.make_node("Cast", ["image"], ["logits"], to=given)
    return save_graph(folder, [node], (taken, [1, 3]), (given, [1, 3]))


def floats(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("batch", [1, 4])
def test_any_batch_of_a_dynamic_graph_runs(doubling: Path, batch: int) -> None:
    with OnnxRuntimeRunner(doubling) as runner:
        answer = runner.run({"image": floats(batch, 3)})
    np.testing.assert_array_equal(answer["logits"], 2 * floats(batch, 3))


def test_strided_inputs_run(doubling: Path) -> None:
    image = floats(3, 4).T[:, ::2][:, [0, 1, 0]]
    with OnnxRuntimeRunner(doubling) as runner:
        np.testing.assert_array_equal(runner.run({"image": image})["logits"], 2 * image)


@pytest.mark.parametrize(("concurrency", "most"), [(None, 4), (2, 2)])
def test_so_many_run_at_once(doubling: Path, concurrency: int | None, most: int) -> None:
    all_in, room = Barrier(most), BoundedSemaphore(most)

    class Session:
        def run(self, names: list[str], inputs: Any) -> list[Any]:
            assert room.acquire(blocking=False)
            all_in.wait(5)  # passed only if so many are here
            room.release()
            return [inputs["image"]]

    with (
        OnnxRuntimeRunner(doubling, threads=1, concurrency=concurrency) as runner,
        ThreadPoolExecutor(4) as pool,
    ):
        runner._session = Session()
        running = [pool.submit(runner.run, {"image": floats(1, 3)}) for _ in range(4)]
        assert all(run.result(10) for run in running)


def test_who_runs_may_end_when_another_closes(doubling: Path) -> None:
    runner = OnnxRuntimeRunner(doubling, threads=1)
    real = runner._session

    class Session:
        def run(self, names: list[str], inputs: Any) -> Any:
            runner.close()
            return real.run(names, inputs)

    runner._session = Session()
    assert runner.run({"image": floats(1, 3)})
    with pytest.raises(RunnerError, match="closed"):
        runner.run({"image": floats(1, 3)})


def test_no_runs_at_once_are_refused(doubling: Path) -> None:
    with pytest.raises(UsageError, match="0 runs at a time"):
        OnnxRuntimeRunner(doubling, concurrency=0)


def test_nan_passes_through(doubling: Path) -> None:
    with OnnxRuntimeRunner(doubling) as runner:
        answer = runner.run({"image": np.full((1, 3), np.nan, np.float32)})
    assert np.isnan(answer["logits"]).all()


def test_settings_say_what_speed_depends_on(doubling: Path) -> None:
    with OnnxRuntimeRunner(doubling, threads=1) as runner:
        assert (runner.name, runner.device) == ("onnxruntime-cpu", "cpu")
        assert runner.settings["threads"] == 1
        assert runner.settings["providers"] == ["CPUExecutionProvider"]
        assert runner.settings["graph_optimization"] == "ORT_ENABLE_ALL"
        assert runner.settings["version"]
    with OnnxRuntimeRunner(doubling, optimize=False) as runner:
        assert runner.settings["graph_optimization"] == "ORT_DISABLE_ALL"
        assert runner.settings["threads"] >= 1


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, ml_dtypes.bfloat16])
def test_narrow_inputs_are_fed(tmp_path: Path, dtype: type) -> None:
    proto = {np.float16: 10, np.uint8: 2, ml_dtypes.bfloat16: 16}[dtype]
    image: np.ndarray[Any, Any] = np.array([[1, 2, 200]], dtype=dtype)
    with OnnxRuntimeRunner(cast(tmp_path, proto, TensorProto.FLOAT)) as runner:
        assert runner.signature == {"image": (np.dtype(dtype).name, (1, 3))}
        np.testing.assert_array_equal(runner.run({"image": image})["logits"], [[1, 2, 200]])


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, ml_dtypes.bfloat16])
def test_narrow_outputs_come_back(tmp_path: Path, dtype: type) -> None:
    proto = {np.float16: 10, np.uint8: 2, ml_dtypes.bfloat16: 16}[dtype]
    with OnnxRuntimeRunner(cast(tmp_path, TensorProto.FLOAT, proto)) as runner:
        answers = [runner.run({"image": np.full((1, 3), v, np.float32)}) for v in (5, 7)]
    assert [answer["logits"].dtype for answer in answers] == [np.dtype(dtype)] * 2
    # The first answer must not live in memory the second run reuses.
    assert [float(answer["logits"][0, 2]) for answer in answers] == [5, 7]


@pytest.mark.parametrize(
    ("inputs", "says", "mend"),
    [
        ({}, "inputs are named nothing", "takes image"),
        ({"x": floats(1, 3)}, "inputs are named x", "takes image"),
        ({"image": floats(1, 4)}, "shape 1 x 4, the graph takes batch x 3", "export"),
        ({"image": floats(3)}, "shape 3, the graph takes batch x 3", "export"),
        ({"image": floats(0, 3)}, "shape 0 x 3", "export"),
        ({"image": floats(1, 3).astype(float)}, "type float64, .* takes float32", "astype"),
        ({"image": [[1, 2, 3]]}, "image is a list", "NumPy"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    doubling: Path, inputs: dict[str, Any], says: str, mend: str
) -> None:
    with OnnxRuntimeRunner(doubling) as runner:
        with pytest.raises(RunnerError, match=says) as caught:
            runner.run(inputs)
        assert mend in caught.value.hint
        assert runner.run({"image": floats(1, 3)})  # and it still runs


def test_a_failing_graph_is_one_line(tmp_path: Path) -> None:
    shape = helper.make_node(
        "Constant", [], ["s"], value=helper.make_tensor("s", TensorProto.INT64, [1], [7])
    )
    reshape = helper.make_node("Reshape", ["image", "s"], ["logits"])
    path = save_graph(
        tmp_path, [shape, reshape], (TensorProto.FLOAT, ["batch", 3]), (TensorProto.FLOAT, [7])
    )
    with OnnxRuntimeRunner(path) as runner, pytest.raises(RunnerError) as caught:
        runner.run({"image": floats(1, 3)})
    assert caught.value.message.startswith("onnxruntime failed")
    assert "\n" not in caught.value.message


def test_a_closed_runner_refuses(doubling: Path) -> None:
    runner = OnnxRuntimeRunner(doubling)
    runner.close()
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        runner.run({"image": floats(1, 3)})


def test_files_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="there is no"):
        OnnxRuntimeRunner(tmp_path / "gone.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(RunnerError, match=r"cannot load .*broken\.onnx") as caught:
        OnnxRuntimeRunner(broken)
    assert "\n" not in caught.value.message


def test_no_threads_are_refused(doubling: Path) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        OnnxRuntimeRunner(doubling, threads=0)


def test_a_provider_that_is_not_built_in_is_missing(doubling: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(MissingDependency, match="without CUDAExecutionProvider") as caught:
        OnnxRuntimeRunner(doubling, provider=Provider.CUDA)
    assert "onnxruntime-gpu" in caught.value.hint


def test_a_provider_dropped_in_silence_is_missing(
    doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build with CUDA but no driver claims the provider, then leaves it out."""
    import onnxruntime

    whole = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, sess_options, providers: whole(
            path, sess_options=sess_options, providers=["CPUExecutionProvider"]
        ),
    )
    with pytest.raises(MissingDependency, match="dropped CUDAExecutionProvider"):
        OnnxRuntimeRunner(doubling, provider=Provider.CUDA)


def test_without_the_library_the_error_says_what_to_install(
    doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency) as caught:
        OnnxRuntimeRunner(doubling)
    assert caught.value.hint == onnxruntime_.INSTALL[Provider.CPU]


@pytest.mark.parametrize("given", [TensorProto.FLOAT, TensorProto.BFLOAT16])
def test_a_thousand_runs_leak_nothing(tmp_path: Path, given: int) -> None:
    side = 512
    nodes = [helper.make_node("Cast", ["image"], ["logits"], to=given)]
    path = save_graph(tmp_path, nodes, (TensorProto.FLOAT, [side, side]), (given, [side, side]))
    image = floats(side, side)
    with OnnxRuntimeRunner(path, threads=1) as runner:
        for _ in range(50):
            runner.run({"image": image})
        before = resident_mib()
        for _ in range(1000):
            runner.run({"image": image})
        grown = resident_mib() - before
    # One forgotten answer is half a MiB or more, so all of them over 500.
    assert grown < 16


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_lean_session_keeps_no_memory_between_runs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Neg", ["image"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["logits"], keepdims=1),
    ]
    graph = save_graph(
        tmp_path, nodes, (TensorProto.FLOAT, [1, 32 << 20]), (TensorProto.FLOAT, [1, 1])
    )
    image = floats(1, 32 << 20)

    def kept(save_memory: bool) -> float:
        with OnnxRuntimeRunner(graph, save_memory=save_memory) as runner:
            before = resident()
            runner.run({"image": image})
            return (resident() - before) / image.nbytes

    assert kept(save_memory=False) > 0.9
    assert kept(save_memory=True) < 0.1


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * mmap.PAGESIZE


# 127 times 127, 64 times: in pairs that is more than 16 bits hold.
PRODUCT, TERMS = 127 * 127 * 64, 64


def eight_bits(folder: Path) -> Path:
    """``logits = image @ weight``, both in int8 and all values the largest."""
    scale = numpy_helper.from_array(np.array(1, np.float32), "scale")
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero")
    weight = numpy_helper.from_array(np.full((TERMS, TERMS), 127, np.int8), "weight")
    quantized = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["image", *quantized], ["stored"]),
        helper.make_node("DequantizeLinear", ["stored", *quantized], ["read"]),
        helper.make_node("DequantizeLinear", ["weight", *quantized], ["factor"]),
        helper.make_node("MatMul", ["read", "factor"], ["logits"]),
    ]
    shape: tuple[int, Shape] = (TensorProto.FLOAT, [1, TERMS])
    return save_graph(folder, nodes, shape, shape, [scale, zero, weight])


def test_products_in_eight_bits_are_exact_on_any_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    options = onnxruntime.SessionOptions

    class Watched(options):  # type: ignore[misc, valid-type]
        def add_session_config_entry(self, key: str, value: str) -> None:
            entries.append((key, value))
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Watched)
    path = eight_bits(tmp_path)
    with OnnxRuntimeRunner(path) as runner:
        answer = runner.run({"image": np.full((1, TERMS), 127, np.float32)})
    assert (answer["logits"] == PRODUCT).all()
    app = (APP / "running.py").read_text(encoding="utf-8")
    assert entries == [onnxruntime_.EXACT_PRODUCTS]
    assert "add_session_config_entry({}, {})".format(*map(json.dumps, entries[0])) in app


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs Debian's qemu-user")
def test_products_in_eight_bits_are_exact_without_vnni(tmp_path: Path) -> None:
    path = eight_bits(tmp_path)
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner\n"
        "runner = OnnxRuntimeRunner(Path(sys.argv[1]), threads=1)\n"
        f"image = np.full((1, {TERMS}), 127, np.float32)\n"
        "print(sorted(set(runner.run({'image': image})['logits'].ravel().tolist())))\n"
    )
    python = str(Path(sys.executable).resolve())
    ran = subprocess.run(
        ["qemu-x86_64", "-cpu", "Haswell", python, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == str([float(PRODUCT)])
