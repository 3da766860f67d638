"""What a network computes in, counted, and held against what was asked for.

Asking for a type and silently getting another is the failure to guard against: a
strongly typed build obeys the graph, so the graph's own types decide.
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
# How many layers an error names before it stops.
NAMED = 3


@dataclass(frozen=True)
class TypeCounts:
    """The types of a network.

    Attributes:
        layers: Type of a layer's first output to the number of such layers.
        products: Name of a convolution or matrix product to the type it multiplies in:
            its inputs' type, that of the quantized values where they come dequantized.
        weight_bytes: Of all constants and kernels.
        quantized_bytes: Of these, the ones stored in eight bits.
    """

    layers: dict[str, int]
    products: dict[str, str]
    weight_bytes: int
    quantized_bytes: int = 0

    @property
    def quantized_layers(self) -> int:
        """How many products multiply in INT8 or E4M3."""
        return sum(kind in EIGHT_BITS for kind in self.products.values())

    @property
    def product_types(self) -> dict[str, int]:
        """Type to the number of products in it."""
        return dict(Counter(self.products.values()).most_common())


def count_types(trt: ModuleType, network: Any) -> TypeCounts:
    """Count the types of a parsed network.

    Args:
        trt: The backend's module.
        network: Its ``INetworkDefinition``.
    """
    # Names may repeat, and a count must not lose a layer to that.
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
    asked: Precision,
    float32_islands: Collection[str] = (),
    quantized: int = 1,
) -> None:
    """Refuse a network that does not multiply in the type asked for.

    FP32, FP16 and BF16 networks multiply in that type throughout, but for the declared
    islands. INT8 and FP8 ones leave sensitive products wider, but must have quantized
    ones.

    Args:
        counts: From :func:`count_types`.
        asked: The precision.
        float32_islands: Names of ONNX nodes meant to stay in float32.
        quantized: How many products at the least must multiply in eight bits.

    Raises:
        PrecisionError: With the counts.
    """
    wanted = TYPE_OF[asked]
    found = ", ".join(f"{number} {name}" for name, number in counts.product_types.items())
    if not counts.products:
        raise PrecisionError(
            "the network has no convolution or matrix product to be of any precision",
            "make the graph again with hrvit-deploy export",
        )
    if asked in QUANTIZED:
        number = counts.product_types.get(wanted, 0)
        if number < quantized:
            fault = f"only {number} of {quantized} products take"
            raise PrecisionError(
                f"{asked} was asked for, but {fault if number else 'no product takes'}"
                f" {wanted} values (products: {found})",
                "run hrvit-deploy quantize on the float32 graph, or put QuantizeLinear and"
                " DequantizeLinear before both factors",
            )
        return
    astray = [
        name
        for name, kind in counts.products.items()
        if kind != wanted and not (kind == "float32" and name in float32_islands)
    ]
    if astray:
        more = f" and {len(astray) - NAMED} more" if len(astray) > NAMED else ""
        raise PrecisionError(
            f"{asked} was asked for, but {len(astray)} of {len(counts.products)} products are"
            f" of another type (products: {found}): {', '.join(astray[:NAMED])}{more}",
            f"run hrvit-deploy export --precision {asked}, and build from that graph",
        )


def layers_of(network: Any) -> Iterator[Any]:
    """The layers, in the network's order."""
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
    """Tensor to the quantized type its values come from.

    Follows reshapes, which the parser puts between a weight and its product.
    """
    origin: dict[str, str] = {}
    for layer in layers_of(network):
        if layer.type == trt.LayerType.DEQUANTIZE:
            origin[layer.get_output(0).name] = type_name(trt, layer.get_input(0).dtype)
        elif layer.type == trt.LayerType.SHUFFLE and layer.get_input(0).name in origin:
            origin[layer.get_output(0).name] = origin[layer.get_input(0).name]
    return origin


def _product_type(trt: ModuleType, layer: Any, dequantized: Mapping[str, str]) -> str:
    """The type of its two factors: only if both are quantized does it multiply so."""
    factors = [tensor for tensor in map(layer.get_input, range(layer.num_inputs)) if tensor]
    kinds = {dequantized.get(tensor.name) for tensor in factors[:2]}
    quantized = kinds.pop()
    if not kinds and quantized and len(factors) > 1:
        return quantized
    return type_name(trt, layer.get_input(0).dtype)


def _weight_bytes(trt: ModuleType, layer: Any) -> int:
    # The network hands out plain layers; the class must be set to reach what is special.
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
