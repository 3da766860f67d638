"""What a graph from outside takes, returns and computes in, as a sidecar says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto

from hrvit_deploy import graphs
from hrvit_deploy.artefact import Graph, Quantization, TensorInfo, sha256_of
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.foreign.read import external_names, nodes_of, tensors_of
from hrvit_deploy.graphs import PRODUCTS, QUANTIZERS
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Precision, Task

COLORS = 3
FLOATS = ("float32", "float16", "bfloat16")
LABELS = ("uint8", "int32", "int64")
LAYOUTS = {2: "NC", 3: "NHW", 4: "NCHW"}
FLOAT_TYPES = {
    int(TensorProto.FLOAT): Precision.FP32,
    int(TensorProto.FLOAT16): Precision.FP16,
    int(TensorProto.BFLOAT16): Precision.BF16,
}
EIGHT_BITS = {
    int(TensorProto.INT8): Precision.INT8,
    int(TensorProto.UINT8): Precision.INT8,
    int(TensorProto.FLOAT8E4M3FN): Precision.FP8,
}
# Products that take eight bits as they are, without QuantizeLinear around them.
INTEGER_PRODUCTS = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm")
TAKES = (
    "a sidecar can say one batch of images in float, B x 3 x H x W, or in uint8,"
    " B x H x W x 3: export the network so"
)


@dataclass(frozen=True)
class ImageInput:
    """The one input: a batch of images.

    Attributes:
        info: Its name, shape and type; a size that the graph leaves open stands in it as
            given.
        format: Normalised floats, or pixels as decoded.
        size: Height and width, in pixels.
    """

    info: TensorInfo
    format: InputFormat
    size: ImageSize


def producer_of(model: ModelProto) -> str:
    """Return the tool that wrote a graph and its version, as the graph names them."""
    words = f"{model.producer_name} {model.producer_version}".split()
    return " ".join("".join(c for c in word if c.isprintable()) for word in words)[:80]


def image_input(path: Path, model: ModelProto, size: ImageSize | None) -> ImageInput:
    """Describe the input of a graph.

    Args:
        path: Of the graph, to name it.
        model: The graph.
        size: Of the images; None for the graph's own.

    Raises:
        ArtefactError: A sidecar cannot say what it takes, or it takes another size.
    """
    # Old graphs list their weights among the inputs.
    weights = {tensor.name for tensor in model.graph.initializer}
    infos = [info for info in model.graph.input if info.name not in weights]
    if len(infos) != 1:
        names = ", ".join(info.name for info in infos) or "nothing"
        raise ArtefactError(f"{path} takes {len(infos)} inputs: {names}", TAKES)
    name, dtype, dims = infos[0].name, _dtype(infos[0]), _dims(infos[0])
    uint8 = dtype == "uint8"
    # Where the size is open, only the type tells where the channels stand.
    channels = 3 if uint8 else 1
    fits = len(dims) == 4 and dims[channels] in (COLORS, None)
    if not fits or dtype not in (*FLOATS, "uint8"):
        shape = " x ".join("?" if dim is None else str(dim) for dim in dims) or "of any shape"
        raise ArtefactError(f"{path} takes {name}: {dtype} {shape}", TAKES)
    sides = dims[1:3] if uint8 else dims[2:4]
    chosen = _size(path, sides, size)
    batch = dims[0] or "batch"
    if uint8:
        info = TensorInfo(name, (batch, *chosen, COLORS), dtype, "NHWC")
        return ImageInput(info, InputFormat.UINT8_NHWC, chosen)
    info = TensorInfo(name, (batch, COLORS, *chosen), dtype, "NCHW")
    return ImageInput(info, InputFormat.FLOAT_NCHW, chosen)


def _size(path: Path, sides: Sequence[int | None], size: ImageSize | None) -> ImageSize:
    own = [
        side if given is None else given
        for side, given in zip(size or sides, sides, strict=True)
    ]
    height, width = own
    if height is None or width is None:
        raise ArtefactError(
            f"{path} takes images of any size", "say which one it is to be used at with --size"
        )
    if size is not None and (height, width) != size:
        raise ArtefactError(
            f"{path} takes images of {height}x{width}, not {size}",
            "give the size the graph was exported for",
        )
    if min(height, width) < 1:
        raise ArtefactError(f"an image of {height}x{width} has no pixel", "give --size from 1")
    return ImageSize(height, width)


def output_names(path: Path, model: ModelProto, chosen: str = "") -> tuple[str, ...]:
    """Return the names of all outputs, the one that is used first.

    Args:
        path: Of the graph, to name it.
        model: The graph.
        chosen: The one that is used; empty for the first.

    Raises:
        ArtefactError: There is none, or none of that name.
    """
    names = [str(info.name) for info in model.graph.output]
    if not names:
        raise ArtefactError(f"{path} returns nothing", "export the network again")
    if chosen and chosen not in names:
        raise ArtefactError(
            f"{path} returns no {chosen!r}", f"take one of {', '.join(names)} with --output"
        )
    first = chosen or names[0]
    return (first, *(name for name in names if name != first))


def stated_outputs(model: ModelProto, names: Iterable[str]) -> tuple[TensorInfo, ...]:
    """Describe outputs as the graph itself states them, of those names."""
    infos = {info.name: info for info in model.graph.output}
    return tuple(
        TensorInfo(
            name, tuple(dim or "?" for dim in _dims(infos[name])), _dtype(infos[name]), ""
        )
        for name in names
    )


@dataclass(frozen=True)
class ImageOutput:
    """The one output, as a run returned it.

    Attributes:
        info: Its name, shape and type.
        format: Scores, probabilities or labels; None for anything else.
        task: What it decides; None for nothing that is known here.
        classes: How many scores there are; 0 for labels and anything else.
    """

    info: TensorInfo
    format: OutputFormat | None = None
    task: Task | None = None
    classes: int = 0


def image_output(
    name: str, array: NDArray[Any], size: ImageSize, batch: int | str
) -> ImageOutput:
    """Describe an output that a run returned for one image.

    Args:
        name: Of the output.
        array: What it was: scores ``1 x C`` or ``1 x C x H x W``, labels ``1 x H x W``, or
            anything else.
        size: Of the input, in pixels.
        batch: Of the input, or what stands for a dynamic one.
    """
    shape, dtype = array.shape, array.dtype.name
    info = TensorInfo(name, (batch, *shape[1:]), dtype, LAYOUTS.get(len(shape), ""))
    if dtype in LABELS and shape[1:] == size:
        return ImageOutput(info, OutputFormat.CLASSMAP, Task.SEGMENT)
    if dtype in FLOATS and len(shape) == 2 and shape[1] > 1:
        summed = _are_probabilities(array)
        kind = OutputFormat.PROBABILITIES if summed else OutputFormat.LOGITS
        return ImageOutput(info, kind, Task.CLASSIFY, shape[1])
    formats = {
        size: OutputFormat.LOGITS,
        (size.height // 4, size.width // 4): OutputFormat.LOGITS_QUARTER,
    }
    if dtype in FLOATS and len(shape) == 4 and shape[1] > 1 and shape[2:] in formats:
        return ImageOutput(info, formats[shape[2:]], Task.SEGMENT, shape[1])
    return ImageOutput(info)


def _are_probabilities(scores: NDArray[Any]) -> bool:
    values = scores.astype(np.float64)
    return bool((values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-2))


def count_parameters(model: ModelProto) -> int:
    """Count the elements of the floating weights, whatever they are stored in."""
    kinds = {*FLOAT_TYPES, *EIGHT_BITS}
    sizes = (prod(tensor.dims) for tensor in tensors_of(model) if tensor.data_type in kinds)
    return sum(sizes)


def describe(path: Path, model: ModelProto, note: str) -> Graph:
    """Describe what a file holds."""
    return Graph(
        opset=graphs.opset_of(model),
        nodes=graphs.count_nodes(model),
        note=note,
        external_data={name: sha256_of(path.parent / name) for name in external_names(model)},
    )


def precision_of(model: ModelProto) -> tuple[Precision, Quantization | None]:
    """Return what a graph computes in, and how it was quantized if it is."""
    rest = _float_type(tensors_of(model))
    quantized, products = _eight_bits(model)
    if quantized is None:
        return rest, None
    return quantized, Quantization(quantized, rest, products)


def _float_type(weights: Iterable[TensorProto]) -> Precision:
    """Return the type that most of the floating weights' elements have."""
    counts = dict.fromkeys(FLOAT_TYPES, 0)
    for weight in weights:
        if weight.data_type in counts:
            counts[weight.data_type] += prod(weight.dims)
    return FLOAT_TYPES[max(counts, key=lambda kind: counts[kind])]


def _eight_bits(model: ModelProto) -> tuple[Precision | None, int]:
    """Return the type of quantized values, if there are any, and the products of such."""
    types = {weight.name: weight.data_type for weight in model.graph.initializer}
    stored: dict[str, Precision] = {}
    integer = 0
    for node in nodes_of(model):
        if node.op_type in INTEGER_PRODUCTS:
            integer += 1
        elif node.op_type in QUANTIZERS:
            # Without a zero point, weights still say themselves what they are.
            known = node.input[2] if len(node.input) > 2 else node.input[0]
            kind = EIGHT_BITS.get(types.get(known, 0), stored.get(node.input[0]))
            # Without both, a QuantizeLinear makes uint8.
            usual = Precision.INT8 if node.op_type == "QuantizeLinear" else None
            if kind or usual:
                stored[node.output[0]] = kind or Precision.INT8
        elif node.op_type in graphs.REARRANGES and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    found = set(stored.values())
    if not found and not integer:
        return None, 0
    products = sum(
        node.op_type in PRODUCTS and all(name in stored for name in node.input[:2])
        for node in nodes_of(model)
    )
    eight = Precision.FP8 if found == {Precision.FP8} else Precision.INT8
    return eight, products + integer


def _dtype(info: ValueInfoProto) -> str:
    kind = info.type.tensor_type.elem_type
    if kind not in onnx.helper.get_all_tensor_dtypes():
        return "no tensor"
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind).name)


def _dims(info: ValueInfoProto) -> list[int | None]:
    return [dim.dim_value or None for dim in info.type.tensor_type.shape.dim]
