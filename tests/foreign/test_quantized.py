"""What TensorRT does not take of a graph quantized elsewhere is counted, and mended there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper
from support.command_line import Run
from support.foreign_graph import foreign
from support.networks import TINY_FILE

from hrvit_deploy.foreign.quantized import quantization_faults, quantization_hint


def changed(
    *, zero_point: np.ndarray | None = None, node: onnx.NodeProto | None = None
) -> ModelProto:
    """The graph with another zero point, or with one node more in front."""
    model = foreign()
    if zero_point is not None:
        (old,) = (weight for weight in model.graph.initializer if weight.name == "z")
        old.CopyFrom(numpy_helper.from_array(zero_point, "z"))
    if node is not None:
        bias = numpy_helper.from_array(np.array([3], np.int32), "bias")
        model.graph.initializer.append(bias)
        model.graph.node.insert(0, node)
    return model


BIAS = helper.make_node("DequantizeLinear", ["bias", "s"], ["b"])
QOPERATOR = helper.make_node("QLinearConv", ["image"], ["c"])
WRONG = {
    "zero point other than 0": changed(zero_point=np.array(3, np.int8)),
    "of unsigned eight bits": changed(zero_point=np.array(0, np.uint8)),
    "1 biases in int32": changed(node=BIAS),
    "1 QLinearConv (QOperator)": changed(node=QOPERATOR),
}


@pytest.mark.parametrize("fault", WRONG)
def test_each_fault_is_named_with_what_to_ask_of_the_other_tool(
    tmp_path: Path, fault: str
) -> None:
    path = tmp_path / "elsewhere.onnx"
    onnx.save(WRONG[fault], path)
    hint = quantization_hint(path)
    assert fault in hint
    for word in ("zero points of 0", "QDQ in place of QOperator", "biases left in float"):
        assert word in hint


def test_what_tensorrt_takes_has_no_fault(tmp_path: Path) -> None:
    assert quantization_faults(foreign()) == []
    assert quantization_faults(foreign(quantized=False)) == []
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no protocol buffer" * 9)
    assert quantization_hint(path) == quantization_hint(tmp_path / "none.onnx") == ""


@pytest.mark.parametrize("fault", ["zero point other than 0", "1 biases in int32"])
def test_a_build_that_fails_tells_it_in_place_of_the_hints_for_our_own(
    run: Run, folder: Path, fault: str
) -> None:
    path = folder / "elsewhere.onnx"
    model = WRONG[fault]
    if fault == "1 biases in int32":
        model = foreign()
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(8, np.int32), "bias"))
        model.graph.node.insert(0, BIAS)
        first = next(node for node in model.graph.node if node.name == "one")
        first.input.append("b")
    onnx.save(model, path)
    build = ("build-trt", "--int8", "--backend", "tensorrt-rtx", "--variant", str(TINY_FILE))
    ran = run(*build, str(path))
    assert ran.code == 1
    assert "biases left in float" in ran.err
    assert "export" not in ran.err.split("error:")[1]
