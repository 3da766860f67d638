"""Graphs that another tool wrote: what can be read from them in place of a sidecar."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from hrvit_deploy import graphs
from hrvit_deploy.artefact import (
    ADOPT,
    Artefact,
    Kind,
    Manifest,
    Network,
    Preparation,
    Quantization,
    TensorInfo,
    Weights,
    refuse_pointer,
    sha256_of,
)
from hrvit_deploy.errors import ArtefactError, ExportError
from hrvit_deploy.graphs import PRODUCTS, QUANTIZERS, REARRANGES
from hrvit_deploy.model.variants import Variant
from hrvit_deploy.options import (
    ImageSize,
    InputFormat,
    OutputFormat,
    Precision,
    Task,
    check_size,
)

# Element types of quantized values, and what a graph that holds them is.
QUANTIZED_TYPES = {
    int(TensorProto.INT8): Precision.INT8,
    int(TensorProto.FLOAT8E4M3FN): Precision.FP8,
}
FLOAT_TYPES = {
    int(TensorProto.FLOAT): Precision.FP32,
    int(TensorProto.FLOAT16): Precision.FP16,
    int(TensorProto.BFLOAT16): Precision.BF16,
}


def import_qdq(path: Path, variant: Variant) -> Artefact:
    """Import a quantized graph without a sidecar, described by what it says itself.

    Nothing is written: the file stays as it is. What it does not say is assumed: images
    normalised as for ImageNet, and the variant.

    Args:
        path: An ``.onnx`` file with one input and QuantizeLinear or DequantizeLinear.
        variant: Which network it is said to be.

    Raises:
        ArtefactError: It is no graph, not quantized, or takes and returns something else
            than images and scores.
    """
    refuse_pointer(path)
    try:
        graphs.check_graph(path)
        model = onnx.load(path, load_external_data=False)
    except (ExportError, OSError, ValueError) as error:
        raise ArtefactError(
            f"{path} has no sidecar and cannot be read without: {error}",
            f"give a graph that hrvit-deploy export or quantize wrote, or run {ADOPT} {path}",
        ) from error
    input_info, output_info = _info(path, model.graph.input), _info(path, model.graph.output)
    preparation = _preparation(path, input_info)
    task = Task.CLASSIFY if len(output_info.shape) == 2 else Task.SEGMENT
    classes = output_info.shape[1]
    if not isinstance(classes, int):
        raise _strange(path, f"{output_info.name} has no fixed number of classes")
    precision, products = _quantized(path, model)
    return Artefact(
        path,
        Manifest(
            kind=Kind.ONNX,
            sha256=sha256_of(path),
            network=Network(variant, task, classes, Weights.CHECKPOINT),
            precision=precision,
            output_format=OutputFormat.LOGITS,
            inputs=(input_info,),
            outputs=(output_info,),
            preparation=preparation,
            versions={},
            options={},
            graph=graphs.describe_graph(path, graphs.opset_of(model)),
            quantization=Quantization(precision, _rest(model), products),
        ),
    )


def _info(path: Path, infos: list[ValueInfoProto]) -> TensorInfo:
    """Describe the one input or output."""
    if len(infos) != 1:
        raise _strange(path, f"it has {len(infos)} inputs or outputs where one is expected")
    kind = infos[0].type.tensor_type
    shape = tuple(d.dim_value or d.dim_param or "batch" for d in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorInfo(infos[0].name, shape, dtype, {2: "NC", 4: "NCHW"}.get(len(shape), ""))


def _preparation(path: Path, input_info: TensorInfo) -> Preparation:
    if len(input_info.shape) != 4 or 3 not in (input_info.shape[1], input_info.shape[3]):
        raise _strange(path, f"{input_info.name} is no image of three channels")
    layout = InputFormat.FLOAT_NCHW if input_info.shape[1] == 3 else InputFormat.UINT8_NHWC
    height, width = input_info.shape[2:] if input_info.shape[1] == 3 else input_info.shape[1:3]
    if not (isinstance(height, int) and isinstance(width, int)):
        raise _strange(path, f"{input_info.name} has no fixed height and width")
    return Preparation(check_size(ImageSize(height, width)), layout)


def _quantized(path: Path, model: ModelProto) -> tuple[Precision, int]:
    """Return what weights and activations are stored in, and how many products take them."""
    types = {weight.name: weight.data_type for weight in model.graph.initializer}
    stored: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in QUANTIZERS:
            # Without a zero point, weights still say themselves what they are.
            known = node.input[2] if len(node.input) > 2 else node.input[0]
            stored[node.output[0]] = types.get(known, stored.get(node.input[0], 0))
        elif node.op_type in REARRANGES and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    kinds = [kind for kind in QUANTIZED_TYPES if kind in stored.values()]
    if not kinds:
        raise ArtefactError(
            f"{path} has no sidecar, and holds no QuantizeLinear or DequantizeLinear of"
            " signed eight bits",
            f"run {ADOPT} {path}, or give one with QDQ in INT8 or E4M3",
        )
    products = sum(
        node.op_type in PRODUCTS
        and all(stored.get(name) == kinds[0] for name in node.input[:2])
        for node in model.graph.node
    )
    return QUANTIZED_TYPES[kinds[0]], products


def _rest(model: ModelProto) -> Precision:
    """Return the type that most of its other weights have."""
    counts = dict.fromkeys(FLOAT_TYPES, 0)
    for weight in model.graph.initializer:
        if weight.data_type in counts:
            counts[weight.data_type] += 1
    return FLOAT_TYPES[max(counts, key=lambda kind: counts[kind])]


def _strange(path: Path, why: str) -> ArtefactError:
    return ArtefactError(
        f"{path} has no sidecar, and {why}",
        f"give a graph that takes one batch of images, or run {ADOPT} {path}",
    )
