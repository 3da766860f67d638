"""Artefacts of every format, small enough to open in no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from hrvit_deploy.artefact import (
    Artefact,
    Network,
    Preparation,
    TensorInfo,
    Weights,
    record,
    sha256_of,
)
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Task
from support import small_artefacts
from support.graph_making import Arrays, Value, make_graph

SIZE = ImageSize(32, 64)
CLASSES = 7
TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "uint8": TensorProto.UINT8,
}
node = helper.make_node


def segmenter(
    folder: Path,
    output: OutputFormat = OutputFormat.LOGITS,
    taken: InputFormat = InputFormat.FLOAT_NCHW,
    dtype: str = "float32",
    batch: int | str = 1,
    *,
    undecided: bool = False,
    quantized: bool = False,
) -> Artefact:
    """Scores are products of a pixel's, or of four by four pixels', colours.

    Args:
        folder: Where to; nothing else is there.
        output: Of the formats that segment.
        taken: Of the formats there are.
        dtype: Of a floating input and output.
        batch: Images a run.
        undecided: Make many scores NaN.
        quantized: Put a quantization before the product.
    """
    quarter = output is OutputFormat.LOGITS_QUARTER
    side = 4 if quarter else 1
    nodes, image = _entry(taken, dtype, batch)
    arrays = _weights(side)
    if quantized:
        nodes += _quantization(arrays)
    strides: dict[str, Any] = {"kernel_shape": [side] * 2, "strides": [side] * 2}
    fed = "rounded" if quantized else "colours"
    # Above 0 for most pixels, so that the logarithm is NaN for some.
    arrays["bias"] = np.full(CLASSES, 5 * side**2, np.float32)
    nodes.append(node("Conv", [fed, "weights", "bias"], ["scores"], **strides))
    nodes.append(node("Log" if undecided else "Identity", ["scores"], ["told"]))
    rows, columns = (length // side for length in SIZE)
    if output is OutputFormat.CLASSMAP:
        logits = TensorInfo("logits", (batch, rows, columns), "uint8", "NHW")
        nodes.append(node("ArgMax", ["told"], ["best"], axis=1, keepdims=0))
        nodes.append(node("Cast", ["best"], ["logits"], to=TensorProto.UINT8))
    else:
        logits = TensorInfo("logits", (batch, CLASSES, rows, columns), dtype, "NCHW")
        nodes.append(node("Cast", ["told"], ["logits"], to=TYPES[dtype]))
    preparation = Preparation(SIZE, taken)
    return _save(folder, nodes, arrays, (image, logits), preparation, output, Task.SEGMENT)


def classifier(folder: Path, output: OutputFormat, batch: int | str = 1) -> Artefact:
    """Scores are products of the picture's mean colour."""
    nodes, image = _entry(InputFormat.FLOAT_NCHW, "float32", batch)
    arrays = {"weights": 3 * _weights(1)["weights"].reshape(CLASSES, 3).T.copy()}
    nodes += [
        node("GlobalAveragePool", ["colours"], ["pooled"]),
        node("Flatten", ["pooled"], ["mean"]),
        node("MatMul", ["mean", "weights"], ["scores"]),
        node(
            "Softmax" if output is OutputFormat.PROBABILITIES else "Identity",
            ["scores"],
            ["logits"],
        ),
    ]
    logits = TensorInfo("logits", (batch, CLASSES), "float32", "NC")
    preparation = Preparation(SIZE)
    return _save(folder, nodes, arrays, (image, logits), preparation, output, Task.CLASSIFY)


def _entry(
    taken: InputFormat, dtype: str, batch: int | str
) -> tuple[list[NodeProto], TensorInfo]:
    """Nodes up to ``colours``, float32 planes around 0."""
    if taken is InputFormat.FLOAT_NCHW:
        image = TensorInfo("image", (batch, 3, *SIZE), dtype, "NCHW")
        return [node("Cast", ["image"], ["colours"], to=TensorProto.FLOAT)], image
    image = TensorInfo("image", (batch, *SIZE, 3), "uint8", "NHWC")
    return [
        node("Cast", ["image"], ["bytes"], to=TensorProto.FLOAT),
        node("Transpose", ["bytes"], ["planes"], perm=[0, 3, 1, 2]),
        node("Constant", [], ["middle"], value_float=128.0),
        node("Sub", ["planes", "middle"], ["colours"]),
    ], image


def _weights(side: int) -> Arrays:
    generator = np.random.default_rng(0)
    shape = (CLASSES, 3, side, side)
    return {"weights": generator.normal(size=shape).astype(np.float32)}


def _quantization(arrays: Arrays) -> list[NodeProto]:
    """Colours and weights through eight bits, the weights' all of them."""
    arrays["full"] = np.where(arrays["weights"] > 0, 127, -127).astype(np.int8)
    arrays["zero"], arrays["scale"] = np.array(0, np.int8), np.array(0.02, np.float32)
    del arrays["weights"]
    scale = ["scale", "zero"]
    return [
        node("QuantizeLinear", ["colours", *scale], ["bytes"]),
        node("DequantizeLinear", ["bytes", *scale], ["rounded"]),
        node("DequantizeLinear", ["full", *scale], ["weights"]),
    ]


def _save(
    folder: Path,
    nodes: list[NodeProto],
    arrays: Arrays,
    tensors: tuple[TensorInfo, TensorInfo],
    preparation: Preparation,
    output: OutputFormat,
    task: Task,
) -> Artefact:
    image, logits = tensors
    graph = make_graph(
        nodes,
        Value(image.name, image.shape, TYPES[image.dtype]),
        [Value(logits.name, logits.shape, TYPES[logits.dtype])],
        arrays,
        opset=22,
    )
    made = small_artefacts.artefact(
        folder,
        inputs=(image,),
        outputs=(logits,),
        preparation=preparation,
        output_format=output,
        network=Network(VARIANTS["b1"], task, CLASSES, Weights.RANDOM),
    )
    onnx.save(graph, made.path)
    return record(made, sha256=sha256_of(made.path))
