"""A bfloat16 graph as one onnxruntime can run on a CPU, rounding where it would round."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from hrvit_deploy.graphs import MOVES

BF16 = int(TensorProto.BFLOAT16)
FLOAT = int(TensorProto.FLOAT)


def emulate_bfloat16(model: ModelProto) -> ModelProto:
    """Compute in float32 and round every bfloat16 tensor to bfloat16.

    onnxruntime has no bfloat16 kernels for a CPU. Accelerators accumulate products in
    float32 and round the result, which is what this does.

    Args:
        model: A graph typed in bfloat16; its inputs and outputs keep their types.
    """
    emulated = ModelProto()
    emulated.CopyFrom(model)
    graph = emulated.graph
    narrow = _bfloat16_tensors(model)
    nodes = [_cast(i.name, _wide(i.name), FLOAT) for i in graph.input if i.name in narrow]
    for node in graph.node:
        nodes.extend(_rounded(node, narrow))
    nodes.extend(_cast(_wide(o.name), o.name, BF16) for o in graph.output if o.name in narrow)
    weights = [_widened(weight) for weight in graph.initializer]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    return emulated


def _bfloat16_tensors(model: ModelProto) -> set[str]:
    inferred = shape_inference.infer_shapes(model).graph
    return {
        info.name
        for info in (*inferred.value_info, *inferred.input, *inferred.output)
        if info.type.tensor_type.elem_type == BF16
    }


def _rounded(node: NodeProto, narrow: set[str]) -> list[NodeProto]:
    """The node on float32 tensors, its results rounded."""
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [_wide(name) if name in narrow else name for name in node.input]
    if node.op_type == "Cast":
        for attribute in changed.attribute:
            attribute.i = FLOAT if attribute.i == BF16 else attribute.i
    rounding = []
    for index, name in enumerate(node.output):
        if name not in narrow:
            continue
        if node.op_type in MOVES:
            changed.output[index] = _wide(name)
            continue
        changed.output[index] = f"{name}:exact"
        rounding += [
            _cast(f"{name}:exact", f"{name}:rounded", BF16),
            _cast(f"{name}:rounded", _wide(name), FLOAT),
        ]
    return [changed, *rounding]


def _wide(name: str) -> str:
    return f"{name}:float32"


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"round:{target}", to=to)


def _widened(weight: TensorProto) -> TensorProto:
    if weight.data_type != BF16:
        return weight
    return numpy_helper.from_array(
        numpy_helper.to_array(weight).astype(np.float32), weight.name
    )
