"""Graphs that another tool quantized are described by what they say, and left as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from support.foreign_graph import foreign
from support.graph_making import FLOAT, Value, make_graph
from support.networks import TINY

from hrvit_deploy.errors import ArtefactError, UsageError
from hrvit_deploy.options import ImageSize, InputFormat, Precision, Task
from hrvit_deploy.quantization.import_qdq import import_qdq

node = helper.make_node


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "trained.onnx"
    onnx.save(foreign(), path)
    return path


def test_it_is_what_its_graph_says(written: Path) -> None:
    manifest = import_qdq(written, TINY).manifest

    assert manifest.precision is Precision.INT8
    assert manifest.quantization is not None
    assert (manifest.quantization.products, manifest.quantization.method) == (2, "elsewhere")
    assert manifest.float_type is Precision.FP32
    assert (manifest.network.task, manifest.network.num_classes) == (Task.SEGMENT, 5)
    assert manifest.preparation.size == ImageSize(64, 96)
    assert manifest.preparation.format is InputFormat.FLOAT_NCHW
    assert (manifest.inputs[0].name, manifest.outputs[0].name) == ("image", "scores")
    assert manifest.inputs[0].dtype == "float32"
    # Nothing was written beside it.
    assert [path.name for path in written.parent.iterdir()] == ["trained.onnx"]


def test_a_float16_graph_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    onnx.save(foreign(dtype=np.float16), path)
    manifest = import_qdq(path, TINY).manifest
    assert manifest.float_type is Precision.FP16
    assert manifest.inputs[0].dtype == "float16"


def test_what_is_not_quantized_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.onnx"
    onnx.save(foreign(quantized=False), path)
    with pytest.raises(ArtefactError, match="holds no QuantizeLinear") as caught:
        import_qdq(path, TINY)
    assert "QDQ" in caught.value.hint


def test_what_takes_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.onnx"
    model = make_graph(
        [
            node("QuantizeLinear", ["rows", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        Value("rows", (4, 4), FLOAT),
        [Value("y", (4, 4), FLOAT)],
        {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)},
    )
    onnx.save(model, path)
    with pytest.raises(ArtefactError, match="rows is no image of three channels"):
        import_qdq(path, TINY)


def test_a_size_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    onnx.save(foreign((64, 100)), path)
    with pytest.raises(UsageError, match="64x100 does not fit"):
        import_qdq(path, TINY)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ArtefactError, match="cannot be read"):
        import_qdq(path, TINY)
