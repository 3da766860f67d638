"""Counts the types a network computes in, and checks them against the requested precision.

A plan that silently computes in another type than the requested one would be the failure to
guard against. A strongly typed build obeys the graph, so the graph's own types decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hrvit_deploy.bindings.dtypes import type_name
from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.options import QUANTIZED, Precision

TYPE_OF = {
    Precision.FP32: "float32",
    Precision.FP16: "float16",
    Precision.BF16: "bfloat16",
    Precision.INT8: "int8",
    Precision.FP8: "float8_e4m3fn",
}
EIGHT_BITS = frozenset(TYPE_OF[precision] for precision in QUANTIZED)
# How many layers an error names at most.
NAMED = 3


@dataclass(frozen=True)
class TypeCounts:
    """The types of a network.

    Attributes:
        layers: Type of a layer's first output to the number of such layers.
        products: Name of a convolution or matrix product to the type it multiplies in. That
            is the type of its inputs, or of the quantized values they are dequantized from.
        weight_bytes: Bytes of all constants and kernels.
        quantized_bytes: Bytes of those that are stored in eight bits.
    """

    layers: dict[str, int]
    products: dict[str, str]
    weight_bytes: int
    quantized_bytes: int = 0

    @property
    def quantized_layers(self) -> int:
        """The number of products that multiply in INT8 or E4M3."""
        return sum(kind in EIGHT_BITS for kind in self.products.values())

    @property
    def product_types(self) -> dict[str, int]:
        """The number of products by the type they multiply in."""
        return dict(Counter(self.products.values()).most_common())


def count_types(trt: ModuleType, network: Any) -> TypeCounts:
    """Count the types of a parsed network.

    Args:
        trt: The backend's module.
        network: Its ``INetworkDefinition``.
    """
    # Names may repeat, and the count must include every layer even so.
    layers: Counter[str] = Counter()
    products: dict[str, str] = {}
    weight_bytes = quantized_bytes = 0
    dequantized = _dequantized(trt, network)
    for layer in layers_of(network):
        kind = type_name(trt, layer.get_output(0).dtype) if layer.num_outputs else ""
        if kind:
            layers[kind] += 1
        if _is_product(trt, layer):
            name = layer.name if layer.name not in products else f"{layer.name}#{len(products)}"
            products[name] = _product_type(trt, layer, dequantized)
        size = _weight_bytes(trt, layer)
        weight_bytes += size
        if kind in EIGHT_BITS:
            quantized_bytes += size
    return TypeCounts(dict(layers.most_common()), products, weight_bytes, quantized_bytes)


def check_precision(
    counts: TypeCounts,
    requested: Precision,
    float32_islands: Collection[str] = (),
    quantized: int = 1,
) -> None:
    """Refuse a network that does not multiply in the requested type.

    FP32, FP16 and BF16 networks must multiply in that type everywhere except in the declared
    islands. INT8 and FP8 networks may leave sensitive products wider, but must have enough
    quantized ones.

    Args:
        counts: From :func:`count_types`.
        requested: The precision.
        float32_islands: Names of ONNX nodes that stay in float32.
        quantized: The smallest number of products that must multiply in eight bits.

    Raises:
        PrecisionError: Products have another type; the message holds the counts.
    """
    expected = TYPE_OF[requested]
    listed = ", ".join(f"{number} {name}" for name, number in counts.product_types.items())
    if not counts.products:
        raise PrecisionError(
            "the network has no convolution or matrix product to be of any precision",
            "make the graph again with hrvit-deploy export",
        )
    if requested in QUANTIZED:
        number = counts.product_types.get(expected, 0)
        if number < quantized:
            fault = f"only {number} of {quantized} products take"
            raise PrecisionError(
                f"{requested} was asked for, but {fault if number else 'no product takes'}"
                f" {expected} values (products: {listed})",
                "run hrvit-deploy quantize on the float32 graph, or put QuantizeLinear and"
                " DequantizeLinear before both factors",
            )
        return
    mistyped = [
        name
        for name, kind in counts.products.items()
        if kind != expected and not (kind == "float32" and name in float32_islands)
    ]
    if mistyped:
        more = f" and {len(mistyped) - NAMED} more" if len(mistyped) > NAMED else ""
        raise PrecisionError(
            f"{requested} was asked for, but {len(mistyped)} of {len(counts.products)} products"
            f" are of another type (products: {listed}): {', '.join(mistyped[:NAMED])}{more}",
            f"run hrvit-deploy export --precision {requested}, and build from that graph",
        )


def layers_of(network: Any) -> Iterator[Any]:
    """Yield the layers in the network's order."""
    for index in range(network.num_layers):
        yield network.get_layer(index)


def _is_product(trt: ModuleType, layer: Any) -> bool:
    return layer.type in (
        trt.LayerType.CONVOLUTION,
        trt.LayerType.DECONVOLUTION,
        trt.LayerType.MATRIX_MULTIPLY,
        trt.LayerType.EINSUM,
    )


def _dequantized(trt: ModuleType, network: Any) -> dict[str, str]:
    """Map each dequantized tensor to the quantized type its values come from.

    The mapping follows reshapes, which the parser puts between a weight and its product.
    """
    origin: dict[str, str] = {}
    for layer in layers_of(network):
        if layer.type == trt.LayerType.DEQUANTIZE:
            origin[layer.get_output(0).name] = type_name(trt, layer.get_input(0).dtype)
        elif layer.type == trt.LayerType.SHUFFLE and layer.get_input(0).name in origin:
            origin[layer.get_output(0).name] = origin[layer.get_input(0).name]
    return origin


def _product_type(trt: ModuleType, layer: Any, dequantized: Mapping[str, str]) -> str:
    """Return the type a product multiplies in, which is quantized only if both factors are."""
    factors = [tensor for tensor in map(layer.get_input, range(layer.num_inputs)) if tensor]
    kinds = {dequantized.get(tensor.name) for tensor in factors[:2]}
    quantized = kinds.pop()
    if not kinds and quantized and len(factors) > 1:
        return quantized
    return type_name(trt, layer.get_input(0).dtype)


def _weight_bytes(trt: ModuleType, layer: Any) -> int:
    # The network returns plain layers; their class must be set to reach its own attributes.
    if layer.type == trt.LayerType.CONSTANT:
        layer.__class__ = trt.IConstantLayer
        return int(layer.weights.nbytes)
    if layer.type == trt.LayerType.CONVOLUTION:
        layer.__class__ = trt.IConvolutionLayer
        return int(layer.kernel.nbytes + layer.bias.nbytes)
    if layer.type == trt.LayerType.DECONVOLUTION:
        layer.__class__ = trt.IDeconvolutionLayer
        return int(layer.kernel.nbytes + layer.bias.nbytes)
    return 0
