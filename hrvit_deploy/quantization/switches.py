"""One graph in which any product can be quantized or not, run by run.

Quantizing every product alone would take a graph and a session for each; here they are
branches of one, and only those switched on pay for their rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from hrvit_deploy.quantization.formats import Format
from hrvit_deploy.quantization.products import Product
from hrvit_deploy.quantization.qdq import Insertion, prepared

SWITCHES = "switches"


def insert_switches(
    model: ModelProto,
    products: Iterable[Product],
    amax: Mapping[str, float],
    number_format: Format,
) -> ModelProto:
    """Add an input to the graph, :data:`SWITCHES`: a bool for each of those products.

    Args:
        model: In float32 or float16.
        products: Which; the switches are in their order.
        amax: Largest magnitude of each activation that a product takes, by tensor.
        number_format: INT8 or E4M3.

    Raises:
        PrecisionError: A range is missing, or a tensor is neither float32 nor float16.
    """
    chosen = {product.name: (i, product) for i, product in enumerate(products)}
    insertion = Insertion(prepared(model), amax, number_format)
    switched = ModelProto()
    switched.CopyFrom(insertion.model)
    graph = switched.graph
    flags = [f"{SWITCHES}/{index}" for index in range(len(chosen))]
    nodes = [
        helper.make_node("Split", [SWITCHES], flags, SWITCHES, num_outputs=len(flags)),
        *(
            _switch(node, *chosen[node.name], insertion) if node.name in chosen else node
            for node in graph.node
        ),
    ]
    graph.input.append(helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(flags)]))
    graph.initializer.extend(insertion.added.values())
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return switched


def _switch(node: NodeProto, index: int, product: Product, insertion: Insertion) -> NodeProto:
    """Switch between the product as it is and after rounding what it takes."""
    rounded = NodeProto()
    rounded.CopyFrom(node)
    # Branches see the tensors around them, not those of other branches.
    insertion.nodes, insertion.done = [], {}
    insertion.quantize_inputs(rounded, product)
    switch = helper.make_node("If", [f"{SWITCHES}/{index}"], list(node.output), node.name)
    for key, nodes in (
        ("then_branch", [*insertion.nodes, rounded]),
        ("else_branch", [node]),
    ):
        switch.attribute.append(helper.make_attribute(key, _branch(key, index, nodes)))
    return switch


def _branch(key: str, index: int, nodes: Iterable[NodeProto]) -> GraphProto:
    """Make a subgraph that returns what its last node does, under names of its own."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    own = {name: f"{name}/{key}/{index}" for node in copies for name in node.output}
    for node in copies:
        for names in (node.input, node.output):
            names[:] = [own.get(name, name) for name in names]
    graph_outputs = [helper.make_empty_tensor_value_info(name) for name in copies[-1].output]
    return helper.make_graph(copies, f"{key}/{index}", [], graph_outputs)
