"""Which tensors of a graph need a range, and which of them hold the same values."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference

from hrvit_deploy.graphs import PRODUCTS, REARRANGES


def product_inputs(model: ModelProto) -> tuple[str, ...]:
    """Return the names of all floating activations that a product takes, in graph order.

    Weights, and whatever the graph computes from weights alone, are not among them.
    """
    constants = _constants(model)
    integers = _integers(model)
    names = [
        name
        for node in model.graph.node
        if node.op_type in PRODUCTS
        for name in node.input[:2]
        if name and name not in constants and name not in integers
    ]
    return tuple(dict.fromkeys(names))


def sources(model: ModelProto, names: Iterable[str]) -> dict[str, str]:
    """Map each tensor to the first in the graph that holds the same values in some order."""
    moved = {
        node.output[0]: node.input[0] for node in model.graph.node if node.op_type in REARRANGES
    }
    return {name: _origin(name, moved) for name in names}


def _origin(name: str, moved: dict[str, str]) -> str:
    while name in moved:
        name = moved[name]
    return name


def watch(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """Let the graph return those float32 activations instead of its own outputs."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return watched


def _constants(model: ModelProto) -> set[str]:
    """Return the initializers, and the outputs of nodes that see nothing else."""
    known = {weight.name for weight in model.graph.initializer}
    known |= {weight.values.name for weight in model.graph.sparse_initializer}
    # A default value does not make an input a constant, but old files list weights twice.
    for node in model.graph.node:
        if all(name in known for name in node.input if name) and not _draws(node):
            known.update(node.output)
    return known


def _draws(node: NodeProto) -> bool:
    return node.op_type.startswith("Random")


def _integers(model: ModelProto) -> set[str]:
    """Return the tensors known to hold no floating numbers, such as products of shapes."""
    floating = {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.DOUBLE,
        TensorProto.UNDEFINED,
    }
    graph = shape_inference.infer_shapes(model).graph
    return {
        info.name
        for info in (*graph.value_info, *graph.input)
        if info.type.tensor_type.elem_type not in floating
    }
