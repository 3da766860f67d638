"""HardSwish in two operators, for parsers that know it in float16 and float32 alone."""

from __future__ import annotations

from onnx import ModelProto, helper


def split_hard_swish(model: ModelProto) -> ModelProto:
    """Write every ``HardSwish(x)`` of a graph as ``x * HardSigmoid(x)``, its definition.

    TensorRT's parser refuses a HardSwish in bfloat16, and takes the parts.
    """
    split = ModelProto()
    split.CopyFrom(model)
    del split.graph.node[:]
    for node in model.graph.node:
        if node.op_type != "HardSwish":
            split.graph.node.append(node)
            continue
        name, (source,), (target,) = node.name or node.output[0], node.input, node.output
        gate = f"{target}_gate"
        split.graph.node.extend(
            (
                helper.make_node(
                    "HardSigmoid", [source], [gate], f"{name}_gate", alpha=1 / 6, beta=0.5
                ),
                helper.make_node("Mul", [source, gate], [target], name),
            )
        )
    return split
