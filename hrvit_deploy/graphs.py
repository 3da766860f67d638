"""ONNX files: reading, writing, checking, and what they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]
from onnx import ModelProto, NodeProto, TensorProto, version_converter

from hrvit_deploy.artefact import Graph, sha256_of
from hrvit_deploy.errors import ExportError
from hrvit_deploy.options import ONNXRUNTIME_OPSET, Precision
from hrvit_deploy.version import VERSION, installed

# Protocol buffers end at 2 GB; some readers already stumble a little before.
INLINE_LIMIT = 2_000_000_000
# Tensors below this stay in the graph, where readers look for shapes and axes.
EXTERNAL_THRESHOLD = 1024
# What shapes a graph, and is named in its sidecar.
TOOLS = ("torch", "onnx", "onnxsim", "onnxruntime", "numpy")
NEWEST_OPSET = onnx.defs.onnx_opset_version()

# Narrow types by their place in ONNX's list.
ELEMENT_TYPES = {
    Precision.FP16: int(TensorProto.FLOAT16),
    Precision.BF16: int(TensorProto.BFLOAT16),
}
# Convolutions and matrix products: their first two inputs are multiplied, a third is added.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
# Nodes that keep every value of their first input, once each. Slice, Split, Gather, Pad
# and Concat do not: their outputs have ranges of their own.
REARRANGES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
# Nodes that only move values; their outputs are as large as their inputs.
MOVES = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)


def write_graph(model: ModelProto, path: Path, *, limit: int = INLINE_LIMIT) -> None:
    """Save a graph; weights go to ``NAME.onnx.data`` beside it if it is over ``limit``.

    Args:
        model: The graph.
        path: Where to.
        limit: Largest file in bytes that holds its own weights.
    """
    if not is_large(model, limit):
        onnx.save(model, path)
        return
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=external_name(path),
        size_threshold=EXTERNAL_THRESHOLD,
    )
    # onnx makes it for the owner alone; whoever may read the graph needs it too.
    path.with_name(external_name(path)).chmod(path.stat().st_mode)


def is_large(model: ModelProto, limit: int = INLINE_LIMIT) -> bool:
    """Return whether the graph needs more than ``limit`` bytes, weights included."""
    try:
        return int(model.ByteSize()) > limit
    except EncodeError:
        return True  # Past 2 GB protocol buffers cannot even count.


def external_name(path: Path) -> str:
    """Name of the file that holds a large graph's weights."""
    return f"{path.name}.data"


def external_files(path: Path) -> list[Path]:
    """Return the files beside the graph that belong to it."""
    data = path.with_name(external_name(path))
    return [data] if data.exists() else []


def check_graph(path: Path) -> None:
    """Run onnx's full check, with strict shape inference.

    Raises:
        ExportError: The graph is not valid.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"onnx finds {path.name} invalid: {str(error).splitlines()[0]}",
            "try --no-simplify or another --opset; if it stays, report it as a bug",
        ) from error


def opset_of(model: ModelProto) -> int:
    """Return the version of the default operator set the file says it is written in."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def set_opset(model: ModelProto, opset: int) -> ModelProto:
    """Convert the graph to a newer operator set.

    Raises:
        ExportError: onnx cannot convert it.
    """
    if opset_of(model) == opset:
        return model
    if is_large(model):
        raise ExportError(
            f"the graph is over 2 GB, too large for onnx to bring it to opset {opset}",
            f"take --opset {opset_of(model)}",
        )
    try:
        return version_converter.convert_version(model, opset)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise ExportError(
            f"onnx cannot bring the graph from opset {opset_of(model)} to {opset}:"
            f" {str(error).splitlines()[0]}",
            "take an older --opset; 20 serves every runtime here",
        ) from error


def runnable(model: ModelProto) -> ModelProto:
    """Convert the graph to an operator set that onnxruntime reads; it computes the same."""
    return set_opset(model, min(opset_of(model), ONNXRUNTIME_OPSET))


def count_nodes(model: ModelProto) -> dict[str, int]:
    """Count nodes by operator type, the most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def lift_constants(model: ModelProto) -> ModelProto:
    """Turn Constant nodes of the graph that hold a tensor into initializers.

    Some exporters and simplifiers write weights as nodes; whoever looks for them among the
    initializers, quantization first of all, would take them for activations.
    """
    nodes = model.graph.node
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weight = model.graph.initializer.add()
            weight.CopyFrom(node.attribute[0].t)
            weight.name = node.output[0]
            del nodes[index]
    return model


def name_nodes(model: ModelProto) -> ModelProto:
    """Give each node of the graph a name of its own.

    Sidecars, profiles and TensorRT's layers speak of nodes by name, and simplifying
    leaves some without: those that own a parameter are called after its module, the others
    after their type and place.
    """
    named = {node.name for node in model.graph.node}
    constants = {tensor.name for tensor in model.graph.initializer}
    used: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in used:
            name = _module_of(node, constants) or f"{node.op_type}_{index}"
            while name in named or name in used:
                name += "_"
            node.name = name
        used.add(node.name)
    return model


def read_named(path: Path) -> ModelProto:
    """Read a graph: weights as initializers, and a name of its own for each node.

    Graphs of other tools have nodes without names, or several of one; what is quantized,
    cast or kept is told by name.
    """
    return name_nodes(lift_constants(onnx.load(path)))


def _module_of(node: NodeProto, constants: set[str]) -> str:
    """Return ``/network.head/Gemm`` for a node with that module's weight or bias."""
    for name in node.input:
        module, dot, parameter = name.rpartition(".")
        if dot and name in constants and parameter in ("weight", "bias"):
            return f"/{module}/{node.op_type}"
    return ""


def describe_graph(path: Path, opset: int) -> Graph:
    """Describe what a written file holds, read back from it.

    Raises:
        ExportError: It is invalid, or not in the opset it should be in.
    """
    check_graph(path)
    model = onnx.load(path, load_external_data=False)
    stored = opset_of(model)
    if stored != opset:
        raise ExportError(
            f"{path.name} was to be opset {opset} and is {stored}",
            "take another --opset; 20 serves every runtime here",
        )
    return Graph(
        opset=stored,
        nodes=count_nodes(model),
        external_data={f.name: sha256_of(f) for f in external_files(path)},
    )


def redescribed(graph: Graph, path: Path, opset: int) -> Graph:
    """Describe a graph that was changed: what is known of it, and what its file holds now.

    Raises:
        ExportError: The file is invalid, or not in that opset.
    """
    description = describe_graph(path, opset)
    return replace(
        graph,
        opset=description.opset,
        nodes=description.nodes,
        external_data=description.external_data,
    )


def tool_versions() -> dict[str, str]:
    """Return the versions of this package and of the tools that shape a graph."""
    return {"hrvit-deploy": VERSION, **installed(TOOLS)}
