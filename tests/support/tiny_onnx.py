"""Small graphs with the operators of the real ones, as files and artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hrvit_deploy.artefact import (
    Artefact,
    Graph,
    Kind,
    Manifest,
    Network,
    Preparation,
    TensorInfo,
    Weights,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import ImageSize, OutputFormat, Precision, Task

FLOAT, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
ONNX_TYPE = {
    Precision.FP32: FLOAT,
    Precision.FP16: HALF,
    Precision.BF16: BFLOAT,
    Precision.INT8: HALF,
    Precision.FP8: HALF,
}
NUMPY_TYPE: dict[int, Any] = {FLOAT: np.float32, HALF: np.float16, BFLOAT: ml_dtypes.bfloat16}
CHANNELS, SIDE = 8, 16


def weight(name: str, shape: tuple[int, ...], kind: int) -> onnx.TensorProto:
    values = np.random.default_rng(0).standard_normal(shape) * 0.1
    return numpy_helper.from_array(values.astype(NUMPY_TYPE[kind]), name)


def graph(
    kind: int = FLOAT,
    *,
    batch: int | str = 1,
    uint8: bool = False,
    classmap: bool = False,
    wide_matmul: bool = False,
) -> onnx.ModelProto:
    """Convolution, Gelu, LayerNormalization, MatMul and Softmax between casts.

    ``wide_matmul`` leaves the product in float32, as a float32 island is.
    """
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    weights = [
        weight("kernel", (CHANNELS, 3, 3, 3), kind),
        weight("bias", (CHANNELS,), kind),
        weight("gamma", (CHANNELS,), kind),
        weight("beta", (CHANNELS,), kind),
        weight("matrix", (CHANNELS, CHANNELS), FLOAT if wide_matmul else kind),
    ]
    here = "images"
    if uint8:
        here = add("Cast", [here], "as_float", to=FLOAT)
        here = add("Transpose", [here], "to_nchw", perm=[0, 3, 1, 2])
    if kind != FLOAT:
        here = add("Cast", [here], "narrow", to=kind)
    here = add("Conv", [here, "kernel", "bias"], "conv", pads=[1, 1, 1, 1])
    here = add("Gelu", [here], "gelu")
    here = add("Transpose", [here], "to_tokens", perm=[0, 2, 3, 1])
    here = add("LayerNormalization", [here, "gamma", "beta"], "norm", axis=-1)
    if wide_matmul:
        here = add("Cast", [here], "widen", to=FLOAT)
    here = add("MatMul", [here, "matrix"], "matmul")
    here = add("Softmax", [here], "softmax", axis=-1)
    here = add("Transpose", [here], "to_maps", perm=[0, 3, 1, 2])
    out_kind, out_shape = FLOAT, [batch, CHANNELS, SIDE, SIDE]
    if classmap:
        here = add("ArgMax", [here], "winner", axis=1, keepdims=0)
        here = add("Cast", [here], "as_uint8", to=TensorProto.UINT8)
        out_kind, out_shape = TensorProto.UINT8, [batch, SIDE, SIDE]
    elif kind != FLOAT and not wide_matmul:
        here = add("Cast", [here], "logits", to=FLOAT)
    in_kind = TensorProto.UINT8 if uint8 else FLOAT
    in_shape = [batch, SIDE, SIDE, 3] if uint8 else [batch, 3, SIDE, SIDE]
    return model(
        nodes,
        [helper.make_tensor_value_info("images", in_kind, in_shape)],
        [helper.make_tensor_value_info(here, out_kind, out_shape)],
        weights,
    )


def quantized_graph(kind: int, dtype: Any) -> onnx.ModelProto:
    """A float16 MatMul whose both factors come dequantized from ``dtype``."""
    zero = np.zeros(1, np.float32).astype(dtype)[0]
    constants = {
        "scale": np.float16(0.1),
        "zero": zero,
        "scales": np.full(CHANNELS, 0.1, np.float16),
        "zeros": np.zeros(CHANNELS, np.float32).astype(dtype),
        "weights": np.ones((CHANNELS, CHANNELS), np.float32).astype(dtype),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], name="dq"),
        helper.make_node(
            "DequantizeLinear", ["weights", "scales", "zeros"], ["w"], name="w", axis=1
        ),
        helper.make_node("MatMul", ["dq", "w"], ["logits"], name="matmul"),
    ]
    return model(
        nodes,
        [helper.make_tensor_value_info("images", HALF, [1, 4, CHANNELS])],
        [helper.make_tensor_value_info("logits", HALF, [1, 4, CHANNELS])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto] | tuple[()] = (),
) -> onnx.ModelProto:
    # Convolutions know bfloat16 from opset 22 on.
    opset = [helper.make_opsetid("", 22)]
    made = helper.make_graph(nodes, "tiny", inputs, outputs, list(weights))
    return helper.make_model(made, opset_imports=opset, ir_version=10)


def single_node(
    operator: str, weights: list[onnx.TensorProto] | tuple[()] = (), name: str = "culprit"
) -> onnx.ModelProto:
    """A graph of one node that a parser may refuse."""
    inputs = ["images", *(tensor.name for tensor in weights)]
    node = helper.make_node(operator, inputs, ["logits"], name=name)
    images = helper.make_tensor_value_info("images", FLOAT, [4, 4])
    logits = helper.make_tensor_value_info("logits", FLOAT, [4, 4])
    return model([node], [images], [logits], weights)


def artefact(
    folder: Path,
    proto: onnx.ModelProto,
    precision: Precision = Precision.FP32,
    *,
    islands: tuple[str, ...] = (),
    name: str = "tiny",
) -> Artefact:
    """The graph as an artefact of that precision, on disk."""
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    manifest = Manifest(
        kind=Kind.ONNX,
        sha256=sha256_of(path),
        network=Network(VARIANTS["b1"], Task.SEGMENT, CHANNELS, Weights.RANDOM),
        precision=precision,
        output_format=OutputFormat.LOGITS,
        inputs=tuple(map(tensor_info, proto.graph.input)),
        outputs=tuple(map(tensor_info, proto.graph.output)),
        preparation=Preparation(ImageSize(SIDE, SIDE)),
        versions={"onnx": onnx.__version__},
        options={},
        graph=Graph(opset=22, nodes={}, float32_islands=dict.fromkeys(islands, 1e5)),
    )
    made = Artefact(path, manifest)
    write_sidecar(path, manifest)
    return made


def tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorInfo(value.name, shape, str(dtype), "")
