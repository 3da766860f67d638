"""Builds by TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from support import tiny_onnx as tiny
from support.processes import in_a_process

from hrvit_deploy.artefact import Kind, open_artefact
from hrvit_deploy.bindings import tensorrt_
from hrvit_deploy.bindings.log import logger
from hrvit_deploy.engines.build import build_engine
from hrvit_deploy.errors import ArtefactError, BuildError, PrecisionError, UsageError
from hrvit_deploy.options import (
    Backend,
    BatchProfile,
    BuildOptions,
    HardwareCompatibility,
    Precision,
)
from hrvit_deploy.progress import SilentProgress, Step

RTX = Backend.TENSORRT_RTX


def options(precision: Precision = Precision.FP32, **changes: Any) -> BuildOptions:
    return BuildOptions(precision=precision, backend=RTX, **changes)


class Watcher(SilentProgress):
    """Keeps the labels of bars, and of those finished; may act at the first step."""

    def __init__(self, at_first_step: Any = None) -> None:
        super().__init__()
        self.started: list[str] = []
        self.finished: list[str] = []
        self.act = at_first_step

    def start(self, label: str, total: int | None = None) -> Step:
        self.started.append(label)
        watcher = self

        class Bar:
            def advance(self, steps: int = 1) -> None:
                act, watcher.act = watcher.act, None
                if act is not None:
                    act()

            def finish(self) -> None:
                watcher.finished.append(label)

        return Bar()


@pytest.mark.parametrize(
    ("precision", "name"),
    [
        (Precision.FP32, "float32"),
        (Precision.FP16, "float16"),
        (Precision.BF16, "bfloat16"),
    ],
)
def test_a_plan_says_what_it_holds(tmp_path: Path, precision: Precision, name: str) -> None:
    source = tiny.artefact(tmp_path, tiny.graph(tiny.ONNX_TYPE[precision]), precision)
    watcher = Watcher()
    seconds = itertools.count(1.0, 2.5)
    built = build_engine(
        source, tmp_path / "engines", options(precision), watcher, clock=lambda: next(seconds)
    )
    assert built.path.name == "tiny-rtx.plan"
    assert open_artefact(built.path).manifest.engine == built.manifest.engine
    manifest, engine = built.manifest, built.manifest.engine
    assert manifest.kind is Kind.PLAN
    assert manifest.sources == source.as_source()
    assert manifest.options["precision"] == precision
    assert manifest.versions["onnx"] == onnx.__version__
    assert engine is not None
    assert manifest.versions["tensorrt-rtx"] == engine.version
    assert engine.products == {name: 2}
    assert engine.layers[name] >= 12
    # 27 * 8 of the kernel, 3 * 8 of bias and norm, 8 * 8 of the matrix.
    assert engine.weight_bytes == 304 * (4 if precision is Precision.FP32 else 2)
    assert engine.build_seconds == 2.5
    assert engine.compute_capabilities == ("8.0", "8.6", "8.9", "12.0+")
    assert "as asked" in watcher.notes[0]
    assert watcher.started[0] == "Building engine"
    assert any(label.startswith("  ") for label in watcher.started)
    assert sorted(watcher.finished) == sorted(watcher.started)
    assert sorted(p.name for p in (tmp_path / "engines").iterdir()) == [
        "tiny-rtx.json",
        "tiny-rtx.plan",
    ]


@pytest.mark.parametrize(
    "proto",
    [
        pytest.param(tiny.graph(tiny.HALF, uint8=True, classmap=True), id="uint8-classmap"),
        pytest.param(tiny.graph(tiny.HALF, batch="batch"), id="dynamic"),
    ],
)
def test_inputs_and_outputs_of_every_kind(tmp_path: Path, proto: onnx.ModelProto) -> None:
    source = tiny.artefact(tmp_path, proto, Precision.FP16)
    profile = (
        BatchProfile(1, 2, 4) if source.manifest.inputs[0].batch is None else BatchProfile()
    )
    built = build_engine(
        source, tmp_path, options(Precision.FP16, profile=profile), SilentProgress()
    )
    assert built.manifest.inputs == source.manifest.inputs
    assert built.manifest.outputs == source.manifest.outputs


@pytest.mark.parametrize(
    ("precision", "kind", "dtype"),
    [
        (Precision.INT8, onnx.TensorProto.INT8, np.int8),
        (Precision.FP8, onnx.TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn),
    ],
)
def test_quantized_products_count_as_quantized(
    tmp_path: Path, precision: Precision, kind: int, dtype: Any
) -> None:
    source = tiny.artefact(tmp_path, tiny.quantized_graph(kind, dtype), precision)
    built = build_engine(source, tmp_path, options(precision), SilentProgress())
    assert built.manifest.engine is not None
    assert sum(built.manifest.engine.products.values()) == 1
    assert "float16" not in built.manifest.engine.products


def test_the_builders_warnings_are_passed_on(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph())
    watcher = Watcher(lambda: logger(tensorrt_.load(RTX)).log(trt_warning(), "mind\n  the gap"))
    build_engine(source, tmp_path, options(), watcher)
    assert watcher.notes[1] == "TensorRT-RTX warns: mind the gap"


def trt_warning() -> Any:
    return tensorrt_.load(RTX).ILogger.WARNING


def test_external_data_is_found(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph())
    onnx.save(
        onnx.load(source.path),
        source.path,
        save_as_external_data=True,
        location="tiny.data",
        size_threshold=0,
    )
    assert build_engine(source, tmp_path, options(), SilentProgress()).path.is_file()


def test_a_graph_of_another_precision_is_refused_unread(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph())
    with pytest.raises(PrecisionError, match="is typed fp32") as caught:
        build_engine(source, tmp_path, options(Precision.FP16), SilentProgress())
    assert "hrvit-deploy export --precision fp16" in caught.value.hint


def test_a_graph_that_lies_about_its_precision_is_refused(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph(), Precision.FP16)
    with pytest.raises(PrecisionError, match=r"2 of 2 products .* 2 float32\): conv, matmul"):
        build_engine(source, tmp_path / "out", options(Precision.FP16), SilentProgress())
    assert list((tmp_path / "out").iterdir()) == []


def test_a_declared_island_may_stay_wide(tmp_path: Path) -> None:
    proto = tiny.graph(tiny.HALF, wide_matmul=True)
    source = tiny.artefact(tmp_path, proto, Precision.FP16, islands=("matmul",))
    built = build_engine(source, tmp_path, options(Precision.FP16), SilentProgress())
    assert built.manifest.engine is not None
    assert built.manifest.engine.products == {"float16": 1, "float32": 1}
    undeclared = tiny.artefact(tmp_path, proto, Precision.FP16)
    with pytest.raises(PrecisionError, match=r"1 of 2 products .*: matmul"):
        build_engine(undeclared, tmp_path, options(Precision.FP16), SilentProgress())


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (tiny.single_node("Det"), "TensorRT-RTX has no Det operator: Det node 'culprit'"),
        (tiny.single_node("Frobnicate"), "no Frobnicate operator"),
        (
            tiny.single_node("MatMul", [tiny.weight("matrix", (4, 4), tiny.HALF)]),
            "refuses the MatMul node 'culprit' of .*Float and `B` is of type Half",
        ),
        (
            tiny.single_node("MatMul", [tiny.weight("matrix", (5, 4), tiny.FLOAT)], name=""),
            "refuses the MatMul node '.*must match",
        ),
    ],
)
def test_a_refused_graph_names_its_node(
    tmp_path: Path, proto: onnx.ModelProto, words: str
) -> None:
    source = tiny.artefact(tmp_path, proto)
    with pytest.raises(BuildError, match=words) as caught:
        build_engine(source, tmp_path / "out", options(), SilentProgress())
    assert caught.value.hint
    assert "CUDA" not in caught.value.message
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph())
    source.path.write_bytes(b"no protocol buffer" * 9)
    with pytest.raises(BuildError, match=r"cannot read .*tiny\.onnx: .*Failed to parse"):
        build_engine(source, tmp_path, options(), SilentProgress())
    source.path.write_bytes(b"")
    with pytest.raises(BuildError, match="without outputs"):
        build_engine(source, tmp_path, options(), SilentProgress())


def test_only_graphs_are_built(tmp_path: Path) -> None:
    plan = build_engine(
        tiny.artefact(tmp_path, tiny.graph()), tmp_path, options(), SilentProgress()
    )
    with pytest.raises(ArtefactError, match="is a plan"):
        build_engine(plan, tmp_path, options(), SilentProgress())


def interrupt_a_build(folder: Path) -> None:
    source = tiny.artefact(folder, tiny.graph())
    # What a terminal sends on Ctrl-C, while the builder runs.
    watcher = Watcher(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        build_engine(source, folder / "out", options(), watcher)
    assert list((folder / "out").iterdir()) == []
    assert sorted(watcher.finished) == sorted(watcher.started)
    assert threading.active_count() == 1 or not [
        thread for thread in threading.enumerate() if thread.name.startswith("build")
    ]
    assert build_engine(source, folder / "out", options(), SilentProgress()).path.is_file()


def test_ctrl_c_ends_the_build_and_leaves_nothing(tmp_path: Path) -> None:
    in_a_process(interrupt_a_build, tmp_path)


def build_and_interrupt_another(folder: Path) -> None:
    source = tiny.artefact(folder, tiny.graph())
    first = build_engine(source, folder, options(), SilentProgress())
    with pytest.raises(KeyboardInterrupt):
        build_engine(
            source, folder, options(), Watcher(lambda: os.kill(os.getpid(), signal.SIGINT))
        )
    assert open_artefact(first.path).manifest.sha256 == first.manifest.sha256


def test_an_earlier_plan_outlives_a_failed_build(tmp_path: Path) -> None:
    in_a_process(build_and_interrupt_another, tmp_path)


def test_options_reach_the_builder(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph())

    def built(**changes: Any) -> tuple[str, tuple[str, ...]]:
        manifest = build_engine(source, tmp_path, options(**changes), SilentProgress()).manifest
        assert manifest.engine is not None
        return manifest.sha256, manifest.engine.compute_capabilities

    plain = built()
    assert built() == plain, "builds repeat themselves to the byte"
    assert built(tf32=True)[0] != plain[0]
    assert built(workspace_mib=64)[0] != plain[0]
    ada = built(compute_capabilities=("8.9",))
    assert ada[0] != plain[0]
    assert ada[1] == ("8.9",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"profile": BatchProfile(1, 2, 4)}, "fixed batch"),
        ({"hardware_compatibility": HardwareCompatibility.AMPERE_PLUS}, "compatibility levels"),
        ({"version_compatible": True}, "version compatible"),
        ({"compute_capabilities": ("9.0",)}, "does not build for compute capability 9.0"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    source = tiny.artefact(tmp_path, tiny.graph())
    with pytest.raises(UsageError, match=words) as caught:
        build_engine(source, tmp_path / "out", options(**changes), SilentProgress())
    assert caught.value.hint
    assert not list(tmp_path.glob("out/*"))


def test_a_failed_build_says_why(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph())
    # Turing has no float32 matrix products in TensorRT-RTX.
    with pytest.raises(BuildError, match="Turing") as caught:
        build_engine(source, tmp_path, options(compute_capabilities=("7.5",)), SilentProgress())
    assert "7.5" in caught.value.hint


@pytest.mark.gpu
def test_a_finished_plan_opens_where_a_gpu_is(tmp_path: Path) -> None:
    source = tiny.artefact(tmp_path, tiny.graph(tiny.HALF), Precision.FP16)
    built = build_engine(
        source, tmp_path, BuildOptions(precision=Precision.FP16), SilentProgress()
    )
    assert built.manifest.engine is not None
    assert built.manifest.engine.gpu
