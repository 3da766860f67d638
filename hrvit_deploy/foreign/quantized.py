"""What TensorRT does not take of a graph that another tool quantized, and how to make it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from hrvit_deploy.graphs import QUANTIZERS

# Operators that multiply or add quantized values themselves, in onnx and in onnxruntime's own
# domain, where QDQ leaves that to the float operators between its pairs.
QOPERATORS = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger", "DynamicQuant")
HINT = "quantize it again in the other tool with"


def quantization_hint(path: Path) -> str:
    """Say what to change where a graph was quantized as TensorRT does not take it.

    Returns:
        What it holds and what to ask of the tool that quantized it; empty where nothing of
        that kind is in the file, or where it cannot be read.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError, ValueError):
        return ""
    faults = quantization_faults(model)
    if not faults:
        return ""
    return (
        f"it holds {', '.join(faults)}: {HINT} zero points of 0 (symmetric ranges, signed eight"
        " bits), QDQ in place of QOperator, and biases left in float; or quantize the float"
        " graph with hrvit-deploy quantize"
    )


def quantization_faults(model: ModelProto) -> list[str]:
    """Count what TensorRT takes in no quantized graph, in words; nothing where all is well."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    counts = Counter(_fault(node, weights) for node in model.graph.node)
    return [f"{count} {fault}" for fault, count in counts.items() if fault]


def _fault(node: NodeProto, weights: dict[str, TensorProto]) -> str:
    """Return what is wrong with a node; nothing with most."""
    if node.op_type.startswith(QOPERATORS):
        return f"{node.op_type} (QOperator)"
    if node.op_type not in QUANTIZERS:
        return ""
    stored = weights.get(node.input[0])
    if stored is not None and stored.data_type == TensorProto.INT32:
        return "biases in int32"
    zero_point = weights.get(node.input[2]) if len(node.input) > 2 else None
    if zero_point is not None and zero_point.data_type == TensorProto.UINT8:
        return f"{node.op_type} of unsigned eight bits"
    shifted = zero_point is not None and _is_shifted(zero_point)
    return f"{node.op_type} with a zero point other than 0" if shifted else ""


def _is_shifted(zero_point: TensorProto) -> bool:
    if zero_point.data_type != TensorProto.INT8 or zero_point.external_data:
        return False
    return bool(np.any(numpy_helper.to_array(zero_point)))
