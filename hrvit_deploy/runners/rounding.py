"""Rewrites a narrow graph so that onnxruntime rounds on a CPU wherever the graph does."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from hrvit_deploy.graphs import MOVES

FLOAT = int(TensorProto.FLOAT)


def round_everywhere(model: ModelProto, narrow_type: int) -> ModelProto:
    """Return a graph that computes in float32 and rounds every narrow tensor to its type.

    On a CPU, onnxruntime has no bfloat16 kernels. For much of float16 it computes in float32
    and drops the roundings in between, so its outputs show neither what an accelerator would
    return nor that a value overflows. Accelerators accumulate products in float32 and round
    the result, and so does the returned graph.

    Args:
        model: A graph typed in ``narrow_type``; its inputs and outputs keep their types.
        narrow_type: ``TensorProto.FLOAT16`` or ``TensorProto.BFLOAT16``.
    """
    emulated = ModelProto()
    emulated.CopyFrom(model)
    graph = emulated.graph
    narrow = _tensors_of(model, narrow_type)
    nodes = [_cast(i.name, _wide(i.name), FLOAT) for i in graph.input if i.name in narrow]
    for node in graph.node:
        nodes.extend(_rounded(node, narrow, narrow_type))
    nodes.extend(
        _cast(_wide(o.name), o.name, narrow_type) for o in graph.output if o.name in narrow
    )
    weights = [_widened(weight, narrow_type) for weight in graph.initializer]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    return emulated


def _tensors_of(model: ModelProto, element_type: int) -> set[str]:
    inferred = shape_inference.infer_shapes(model).graph
    return {
        info.name
        for info in (*inferred.value_info, *inferred.input, *inferred.output)
        if info.type.tensor_type.elem_type == element_type
    }


def _rounded(node: NodeProto, narrow: set[str], narrow_type: int) -> list[NodeProto]:
    """Return the node on float32 tensors, followed by casts that round its outputs."""
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [_wide(name) if name in narrow else name for name in node.input]
    if node.op_type == "Cast":
        for attribute in changed.attribute:
            attribute.i = FLOAT if attribute.i == narrow_type else attribute.i
    rounding = []
    for index, name in enumerate(node.output):
        if name not in narrow:
            continue
        if node.op_type in MOVES:
            changed.output[index] = _wide(name)
            continue
        changed.output[index] = f"{name}:exact"
        rounding += [
            _cast(f"{name}:exact", f"{name}:rounded", narrow_type),
            _cast(f"{name}:rounded", _wide(name), FLOAT),
        ]
    return [changed, *rounding]


def _wide(name: str) -> str:
    return f"{name}:float32"


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"round:{target}", to=to)


def _widened(weight: TensorProto, narrow_type: int) -> TensorProto:
    if weight.data_type != narrow_type:
        return weight
    return numpy_helper.from_array(
        numpy_helper.to_array(weight).astype(np.float32), weight.name
    )
