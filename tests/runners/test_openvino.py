"""OpenVINO answers as onnxruntime does, feeds what fits, and says what does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from support import measured_graphs
from support.graph_making import SIZE, Value, floats, make_graph
from support.networks import answer, tiny

from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.errors import MissingDependency, RunnerError, UsageError
from hrvit_deploy.export.stage import cast_artefact
from hrvit_deploy.options import Precision, Task
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.formats import FORMATS
from hrvit_deploy.quantization.products import find_products
from hrvit_deploy.quantization.qdq import insert_qdq
from hrvit_deploy.runners import openvino_
from hrvit_deploy.runners.cores import usable_cores
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner
from hrvit_deploy.runners.open import open_runner
from hrvit_deploy.runners.openvino_ import OpenVinoRunner, load_library
from hrvit_deploy.runners.spec import (
    InferencePrecision,
    Provider,
    RunnerSpec,
    RunOptions,
)

openvino = load_library()
FLOAT = int(TensorProto.FLOAT)
NARROW = {np.float16: 10, np.uint8: 2, ml_dtypes.bfloat16: 16}
IMAGE = floats(1, 3, *SIZE)
node = helper.make_node


def save(model: ModelProto, folder: Path) -> Path:
    path = folder / "graph.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """``logits = image + image`` over a dynamic batch of three numbers."""
    graph = make_graph(
        [node("Add", ["image", "image"], ["logits"])],
        Value("image", ["batch", 3]),
        [Value("logits", ["batch", 3])],
    )
    return save(graph, tmp_path)


def cast(folder: Path, taken: int, given: int) -> Path:
    graph = make_graph(
        [node("Cast", ["image"], ["logits"], to=given)],
        Value("image", [1, 3], taken),
        [Value("logits", [1, 3], given)],
    )
    return save(graph, folder)


@pytest.fixture
def segmenter(exported: Path) -> Artefact:
    (path,) = (exported / "export").glob("*.onnx")
    return open_artefact(path)


def in_openvino(artefact: Artefact) -> RunnerSpec:
    return RunnerSpec(artefact, RunOptions(Provider.OPENVINO, threads=1, round_tensors=True))


def expected() -> NDArray[Any]:
    logits: NDArray[Any] = answer(tiny(Task.SEGMENT), torch.from_numpy(IMAGE)).numpy()
    return logits


def both(path: Path, **inputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """OpenVINO's answer, and onnxruntime's without rewriting the graph."""
    with OpenVinoRunner(path, threads=1) as ours:
        given = ours.run(inputs)["logits"]
    with OnnxRuntimeRunner(path, threads=1, optimize=False) as theirs:
        return given, theirs.run(inputs)["logits"]


@pytest.mark.parametrize("batch", [1, 4])
def test_any_batch_of_a_dynamic_graph_runs(doubling: Path, batch: int) -> None:
    with OpenVinoRunner(doubling, threads=1) as runner:
        assert runner.signature == {"image": ("float32", ("?", 3))}
        runner.run({"image": floats(2, 3)})
        given = runner.run({"image": floats(batch, 3)})
    np.testing.assert_array_equal(given["logits"], 2 * floats(batch, 3))


@pytest.mark.parametrize("batch", ["batch", 2])
def test_products_are_onnxruntime_s(tmp_path: Path, batch: int | str) -> None:
    path = save(measured_graphs.products(batch), tmp_path)
    ours, theirs = both(path, image=floats(2, 3, *measured_graphs.SIZE))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * theirs.std())


def test_the_network_s_graph_gives_its_answer(segmenter: Artefact) -> None:
    with open_runner(in_openvino(segmenter)) as runner:
        assert isinstance(runner, OpenVinoRunner)
        given = runner.run({"image": IMAGE})["logits"]
    np.testing.assert_allclose(given, expected(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_narrow_graphs_are_computed_in_float32(
    segmenter: Artefact, tmp_path: Path, precision: Precision
) -> None:
    path = tmp_path / "narrow.onnx"
    narrow = cast_artefact(segmenter, path, precision, [IMAGE], SilentProgress())
    with open_runner(in_openvino(narrow)) as runner:
        given = runner.run({"image": IMAGE})["logits"]
    error = np.abs(given - expected()).mean() / expected().std()
    # The weights are rounded to 11 or 8 bits, and nothing else is.
    assert 1e-4 < error < {Precision.FP16: 0.01, Precision.BF16: 0.06}[precision]
    dropped = {Precision.FP16: 0x1FFF, Precision.BF16: 0xFFFF}[precision]
    # A CPU that has bfloat16 leaves what a graph types so as it is.
    native = precision is Precision.BF16 and has_bfloat16()
    assert bool((given.view(np.uint32) & dropped).any()) != native


def has_bfloat16() -> bool:
    core = load_library().Core()
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def quantized(model: ModelProto, precision: Precision) -> ModelProto:
    products = [found for found in find_products(model) if found.name in ("conv", "linear")]
    assert len(products) == 2
    return insert_qdq(model, products, {"image": 4.0, "tokens": 8.0}, FORMATS[precision])


@pytest.mark.parametrize("float_type", [np.float32, np.float16])
def test_int8_products_are_exact(tmp_path: Path, float_type: type) -> None:
    """Also where a CPU's own 8-bit products overflow."""
    path = save(dense(float_type), tmp_path)
    image: NDArray[Any] = floats(8, 256).astype(float_type)
    ours, theirs = both(path, image=image)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3 * float(theirs.std()))


def dense(float_type: Any) -> ModelProto:
    """One product, both sides quantized, whose weights use all of their eight bits."""
    weights = np.random.default_rng(0).choice([-127, 90, 127], (256, 32)).astype(np.int8)
    kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(float_type)))
    return make_graph(
        [
            node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            node("DequantizeLinear", ["w", "scales"], ["wide"], axis=1),
            node("MatMul", ["d", "wide"], ["logits"]),
        ],
        Value("image", [8, 256], kind),
        [Value("logits", [8, 32], kind)],
        {
            "w": weights,
            "zero": np.array(0, np.int8),
            "scale": np.array(3 / 127, float_type),
            "scales": np.full(32, 1 / 1024, float_type),
        },
    )


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP8])
def test_quantized_graphs_run(tmp_path: Path, precision: Precision) -> None:
    path = save(quantized(measured_graphs.products(), precision), tmp_path)
    ours, theirs = both(path, image=floats(2, 3, *measured_graphs.SIZE).clip(-4, 4))
    # OpenVINO rounds to E4M3 by way of float16, so some values are a step apart.
    allowed = 1e-4 if precision is Precision.INT8 else 0.02
    assert np.abs(ours - theirs).mean() < allowed * theirs.std()


@pytest.mark.parametrize(
    ("overflows", "run_in"), [(False, "int8"), (True, "float, because int8 overflows")]
)
def test_settings_say_what_quantized_products_run_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overflows: bool, run_in: str
) -> None:
    monkeypatch.setattr(openvino_, "overflows", lambda library, core: overflows)
    configured = spy(monkeypatch)
    with OpenVinoRunner(save(dense(np.float32), tmp_path), threads=1) as runner:
        assert runner.settings["quantized_products"].startswith(run_in)
    assert configured[-1].get("LP_TRANSFORMS_MODE", True) is not overflows


def test_8_bit_products_are_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    core = openvino.Core()
    found = openvino_.overflows(openvino, core)
    whole = core.compile_model

    class Exact:
        def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
            return whole(model, device, {**config, "LP_TRANSFORMS_MODE": False})

    assert openvino_.overflows(openvino, Exact()) is False
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or "avx2" not in cpuinfo.read_text(encoding="utf-8"):
        pytest.skip("no x86 with AVX2")
    flags = cpuinfo.read_text(encoding="utf-8").split()
    assert found is not ("avx_vnni" in flags or "avx512_vnni" in flags)


def spy(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What graphs are compiled with, from here on."""
    seen = []

    class Core(openvino.Core):  # type: ignore[misc, name-defined]
        def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
            seen.append(config)
            return super().compile_model(model, device, config)

    monkeypatch.setattr(openvino, "Core", Core)
    return seen


def test_settings_say_what_speed_depends_on(doubling: Path) -> None:
    with OpenVinoRunner(doubling, threads=1) as runner:
        assert (runner.name, runner.device) == ("openvino-cpu", "cpu")
        told = runner.settings
    assert (told["provider"], told["hint"]) == ("openvino", "LATENCY")
    assert (told["threads"], told["streams"]) == (1, 1)
    assert told["inference_precision"] == "f32"
    assert told["version"][:2] == "20"
    assert told["device"]
    assert "quantized_products" not in told


def test_threads_and_precision_reach_openvino(
    doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = spy(monkeypatch)
    OpenVinoRunner(doubling).close()
    OpenVinoRunner(doubling, threads=1, precision=InferencePrecision.DEVICE).close()
    full, fast = configured
    assert (full["INFERENCE_NUM_THREADS"], fast["INFERENCE_NUM_THREADS"]) == (usable_cores(), 1)
    assert full["INFERENCE_PRECISION_HINT"] == "f32"
    assert "INFERENCE_PRECISION_HINT" not in fast


def test_another_precision_is_in_the_name(
    doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        openvino_, "settings", lambda core, compiled: {"inference_precision": "bf16"}
    )
    with OpenVinoRunner(doubling, threads=1) as runner:
        assert runner.name == "openvino-cpu-bf16"


def test_inputs_are_read_where_they_lie(doubling: Path) -> None:
    strided = floats(3, 4).T[:, ::2][:, [0, 1, 0]]
    frozen = floats(2, 3)
    frozen.flags.writeable = False
    with OpenVinoRunner(doubling, threads=1) as runner:
        for image in (strided, frozen):
            before = image.copy()
            given = runner.run({"image": image})["logits"]
            np.testing.assert_array_equal(image, before)
            np.testing.assert_array_equal(given, 2 * before)


def test_nan_passes_through(doubling: Path) -> None:
    with OpenVinoRunner(doubling, threads=1) as runner:
        given = runner.run({"image": np.full((1, 3), np.nan, np.float32)})
    assert np.isnan(given["logits"]).all()


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_inputs_are_fed(tmp_path: Path, dtype: type) -> None:
    image: NDArray[Any] = np.array([[1, 3.14159, 200]]).astype(dtype)
    with OpenVinoRunner(cast(tmp_path, NARROW[dtype], FLOAT), threads=1) as runner:
        assert runner.signature == {"image": (np.dtype(dtype).name, (1, 3))}
        given = runner.run({"image": image})["logits"]
    np.testing.assert_array_equal(given, image.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float32, *NARROW])
def test_outputs_are_the_caller_s_own(tmp_path: Path, dtype: type) -> None:
    path = cast(tmp_path, FLOAT, NARROW.get(dtype, FLOAT))
    with OpenVinoRunner(path, threads=1) as runner:
        given = [
            runner.run({"image": np.full((1, 3), v, np.float32)})["logits"] for v in (5, 7)
        ]
    assert [array.dtype for array in given] == [np.dtype(dtype)] * 2
    # The first answer must not live in memory the second run writes to.
    assert [float(array[0, 2]) for array in given] == [5, 7]
    assert all(array.flags.writeable for array in given)


def test_names_are_the_graph_s_where_tensors_are_merged(tmp_path: Path) -> None:
    """OpenVINO drops Cast and Identity, and calls one tensor by the names of all."""
    graph = make_graph(
        [
            node("Cast", ["image"], ["a"], to=FLOAT),
            node("Add", ["a", "a"], ["b"]),
            node("Identity", ["b"], ["zoomed"]),
            node("Identity", ["zoomed"], ["logits"]),
            node("Neg", ["b"], ["c"]),
            node("Identity", ["c"], ["negated"]),
        ],
        Value("image", [1, 3]),
        [Value("logits", [1, 3]), Value("negated", [1, 3])],
    )
    with OpenVinoRunner(save(graph, tmp_path), threads=1) as runner:
        given = runner.run({"image": floats(1, 3)})
    assert list(given) == ["logits", "negated"]
    np.testing.assert_array_equal(given["logits"], 2 * floats(1, 3))
    np.testing.assert_array_equal(given["negated"], -2 * floats(1, 3))


@pytest.mark.parametrize(
    ("inputs", "says", "mend"),
    [
        ({}, "inputs are named nothing", "takes image"),
        ({"x": floats(1, 3)}, "inputs are named x", "takes image"),
        ({"image": floats(1, 4)}, r"shape 1 x 4, the graph takes \? x 3", "export"),
        ({"image": floats(3)}, r"shape 3, the graph takes \? x 3", "export"),
        ({"image": floats(0, 3)}, "shape 0 x 3", "export"),
        ({"image": floats(1, 3).astype(float)}, "type float64, .* takes float32", "astype"),
        ({"image": [[1, 2, 3]]}, "image is a list", "NumPy"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    doubling: Path, inputs: dict[str, Any], says: str, mend: str
) -> None:
    with OpenVinoRunner(doubling, threads=1) as runner:
        with pytest.raises(RunnerError, match=says) as caught:
            runner.run(inputs)
        assert mend in caught.value.hint
        assert runner.run({"image": floats(1, 3)})  # and it still runs


def test_a_failing_graph_is_one_line(tmp_path: Path) -> None:
    graph = make_graph(
        [node("Reshape", ["image", "seven"], ["logits"])],
        Value("image", ["batch", 3]),
        [Value("logits", [7])],
        {"seven": np.array([7])},
    )
    path, failed = save(graph, tmp_path), r"OpenVINO failed: .*reshape"
    # On one thread OpenVINO loses the error, and answers with what lies in memory.
    with (
        OpenVinoRunner(path, threads=2) as runner,
        pytest.raises(RunnerError, match=failed) as caught,
    ):
        runner.run({"image": floats(1, 3)})
    assert "\n" not in caught.value.message
    assert "--provider cpu" in caught.value.hint


def test_a_closed_runner_refuses(doubling: Path) -> None:
    runner = OpenVinoRunner(doubling, threads=1)
    runner.close()
    runner.close()
    with pytest.raises(RunnerError, match="closed"):
        runner.run({"image": floats(1, 3)})


def test_files_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="there is no"):
        OpenVinoRunner(tmp_path / "gone.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(RunnerError, match=r"cannot load .*broken\.onnx: Unable to") as caught:
        OpenVinoRunner(broken)
    assert "\n" not in caught.value.message


def test_an_operator_openvino_has_not_is_named(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [node("Divine", ["image"], ["logits"], domain="elsewhere")],
        "graph",
        [helper.make_tensor_value_info("image", FLOAT, [1, 3])],
        [helper.make_tensor_value_info("logits", FLOAT, [1, 3])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("elsewhere", 1)]
    path = save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path)
    with pytest.raises(RunnerError, match=r"elsewhere\.Divine$") as caught:
        OpenVinoRunner(path)
    assert "onnxruntime" in caught.value.hint


def test_no_threads_are_refused(doubling: Path) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        OpenVinoRunner(doubling, threads=0)


def test_without_the_library_the_error_says_what_to_install(
    doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match="cannot be imported") as caught:
        OpenVinoRunner(doubling, threads=1)
    assert "hrvit-deploy[openvino]" in caught.value.hint


def test_nobody_is_told_that_openvino_was_imported(tmp_path: Path) -> None:
    code = """
import sys
from hrvit_deploy.runners.openvino_ import load_library
load_library()
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
"""
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(tmp_path), "CI": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


class Slow:
    """A request that fails when it is used by two, and counts how many are at it."""

    at_once, most = 0, 0

    def __init__(self) -> None:
        self.inside = False

    def infer(self, *_: object, **__: object) -> None:
        assert not self.inside
        self.inside = True
        Slow.at_once += 1
        Slow.most = max(Slow.most, Slow.at_once)
        time.sleep(0.02)
        Slow.at_once -= 1
        self.inside = False

    def get_output_tensor(self, place: int) -> Any:
        return openvino.Tensor(floats(1, 3))


@pytest.mark.parametrize("concurrency", [None, 2])
def test_so_many_run_at_once_and_others_wait(
    doubling: Path, concurrency: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "most", 0)
    with (
        OpenVinoRunner(doubling, threads=2, concurrency=concurrency) as runner,
        ThreadPoolExecutor(4) as pool,
    ):
        runner._requests._make = Slow
        given = list(pool.map(lambda _: runner.run({"image": floats(1, 3)}), range(8)))
        assert runner.settings["streams"] == (concurrency or 1)
        assert runner.settings["threads"] == 2
    assert len(given) == 8
    assert Slow.most == (concurrency or 1)


def test_no_runs_at_once_are_refused(doubling: Path) -> None:
    with pytest.raises(UsageError, match="0 runs at a time"):
        OpenVinoRunner(doubling, concurrency=0)


@pytest.mark.parametrize("concurrency", [None, 2])
def test_threads_share_a_runner(segmenter: Artefact, concurrency: int | None) -> None:
    images = [floats(1, 3, *SIZE, seed=seed) for seed in range(2)]
    with OpenVinoRunner(segmenter.path, threads=2, concurrency=concurrency) as runner:
        alone = [runner.run({"image": image})["logits"] for image in images]
        with ThreadPoolExecutor(8) as pool:
            beside = list(pool.map(lambda i: runner.run({"image": images[i % 2]}), range(24)))
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    for index, given in enumerate(beside):
        np.testing.assert_array_equal(given["logits"], alone[index % 2])


def test_times_are_of_the_run_they_follow(doubling: Path) -> None:
    class Told(Slow):
        @property
        def profiling_info(self) -> list[Any]:
            assert not self.inside, "somebody else runs"
            return []

    feed = {"image": floats(1, 3)}
    with (
        OpenVinoRunner(doubling, threads=1, profiled=True) as runner,
        ThreadPoolExecutor(3) as pool,
    ):
        runner._requests._make = Told
        running = [pool.submit(runner.run, feed) for _ in range(3)]
        assert runner.node_times(feed, 3) == []
        assert all(run.result(5) for run in running)


@pytest.mark.parametrize("given", [TensorProto.FLOAT, TensorProto.BFLOAT16])
def test_a_thousand_runs_leak_nothing(tmp_path: Path, given: int) -> None:
    side = 512
    graph = make_graph(
        [node("Cast", ["image"], ["logits"], to=given)],
        Value("image", [side, side]),
        [Value("logits", [side, side], given)],
    )
    image = floats(side, side)
    with OpenVinoRunner(save(graph, tmp_path), threads=1) as runner:
        for _ in range(50):
            runner.run({"image": image.copy()})
        before = resident_mib()
        for _ in range(1000):
            runner.run({"image": image.copy()})
        grown = resident_mib() - before
    # One forgotten answer is half a MiB or more, so all of them over 500.
    assert grown < 16


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20
