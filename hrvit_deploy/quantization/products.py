"""Which products of a graph are quantized, and which stay as they are.

Only convolutions and matrix products gain from eight bits; sums, norms, softmax and
activation functions between them lose accuracy and gain nothing, so that no value is
quantized but on its way into a product. Quantizing residual sums and LayerNorms as well is
what takes vision transformers from their accuracy to chance (docs/explanation/quantization.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import prod

from onnx import ModelProto, NodeProto, TensorProto

from hrvit_deploy.errors import UsageError
from hrvit_deploy.graphs import PRODUCTS, QUANTIZERS
from hrvit_deploy.options import Group, join


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product that could be quantized.

    Attributes:
        name: Of its node.
        group: What kind of product it is.
        activations: Names of its factors that depend on the image, and at which input.
        weight: Name of its constant factor; empty where both are activations.
        weight_input: At which input that is.
        axis: Of the weight, along which every output channel has a scale; None for one
            scale.
    """

    name: str
    group: Group
    activations: tuple[tuple[int, str], ...]
    weight: str = ""
    weight_input: int = 1
    axis: int | None = None


def find_products(model: ModelProto) -> tuple[Product, ...]:
    """Find every product of a graph, in its order.

    Those that already multiply quantized values are left out: whoever quantized them
    knew why.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    quantized = {
        name for node in model.graph.node if node.op_type in QUANTIZERS for name in node.output
    }
    last = _last_products(model)
    return tuple(
        _describe(node, weights, last)
        for node in model.graph.node
        if node.op_type in PRODUCTS and not quantized & set(node.input)
    )


def _describe(
    node: NodeProto, weights: dict[str, TensorProto], last: Collection[str]
) -> Product:
    factors = list(enumerate(node.input))[:2]
    constants = [(index, name) for index, name in factors if name in weights]
    activations = tuple((index, name) for index, name in factors if name not in weights)
    if len(constants) != 1:
        return Product(node.name, Group.ATTENTION, activations)
    ((index, name),) = constants
    shape = tuple(weights[name].dims)
    group = Group.CLASSIFIER if node.name in last else _group(node, shape)
    return Product(
        node.name, group, activations, name, index, _channel_axis(node, shape, index)
    )


def _group(node: NodeProto, shape: tuple[int, ...]) -> Group:
    if node.op_type in ("Gemm", "MatMul"):
        return Group.LINEAR
    if _attribute(node, "group", 1) > 1:
        return Group.DEPTHWISE
    return Group.POINTWISE if prod(shape[2:]) == 1 else Group.DENSE


def _channel_axis(node: NodeProto, shape: tuple[int, ...], index: int) -> int | None:
    """Return the axis of the weight's output channels, if each may have a scale of its own."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        # Output channels of each group lie along the second axis.
        return 1 if _attribute(node, "group", 1) == 1 else None
    if len(shape) != 2:
        # onnxruntime takes a scale per channel for two axes only.
        return None
    if node.op_type == "Gemm":
        transposed = bool(_attribute(node, "transB" if index else "transA", 0))
        return int(transposed != bool(index))
    return 1 if index else 0


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _last_products(model: ModelProto) -> set[str]:
    """Return the names of the products that no other product follows: they decide the class."""
    makers = {name: node for node in model.graph.node for name in node.output}
    waiting = [output.name for output in model.graph.output]
    seen: set[str] = set()
    last: set[str] = set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in PRODUCTS:
            last.add(node.name)
        else:
            waiting.extend(node.input)
    return last


def choose_products(
    products: Iterable[Product], groups: Collection[Group], keep: Collection[str] = ()
) -> tuple[Product, ...]:
    """Choose the products of those groups, but for those kept in float by name.

    Raises:
        UsageError: A name is no product's, or nothing is left.
    """
    products = tuple(products)
    known = {product.name for product in products}
    unknown = sorted(set(keep) - known)
    if unknown:
        raise UsageError(
            f"there is no product named {unknown[0]!r} to keep in float",
            "take names from the sensitivity report, or from hrvit-deploy inspect",
        )
    chosen = tuple(p for p in products if p.group in groups and p.name not in keep)
    if not chosen:
        raise UsageError(
            f"nothing is left to quantize of {len(products)} products",
            f"choose groups from {join(Group)}, or keep fewer in float",
        )
    return chosen
