"""QuantizeLinear and DequantizeLinear where a builder looks for them.

Weights are stored in eight bits with a DequantizeLinear behind them, a scale for each
output channel; activations pass a pair of both in front of the product, with one scale.
Zero points are zero and scales have the graph's own type: what strongly typed TensorRT
builds take. onnxruntime's quantizer serves neither float16 scales nor E4M3 by range, and
quantizes the outputs of products too, which TensorRT does not want.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.graphs import opset_of, set_opset
from hrvit_deploy.quantization.formats import Format
from hrvit_deploy.quantization.products import Product

# From this one on scales may be float16, and values E4M3.
SCALE_OPSET = 19
SCALE_TYPES: dict[int, type] = {
    int(TensorProto.FLOAT): np.float32,
    int(TensorProto.FLOAT16): np.float16,
}


def insert_qdq(
    model: ModelProto,
    products: Iterable[Product],
    amax: Mapping[str, float],
    number_format: Format,
) -> ModelProto:
    """Quantize those products of a graph.

    Args:
        model: In float32 or float16.
        products: Which, from :mod:`hrvit_deploy.quantization.products`.
        amax: Largest magnitude of each activation that a product takes, by tensor.
        number_format: INT8 or E4M3.

    Returns:
        A new graph; of opset 19 or later.

    Raises:
        PrecisionError: A range is missing, or a tensor is neither float32 nor float16.
    """
    chosen = {product.name: product for product in products}
    insertion = Insertion(prepared(model), amax, number_format)
    quantized = ModelProto()
    quantized.CopyFrom(insertion.model)
    graph = quantized.graph
    for node in graph.node:
        changed = NodeProto()
        changed.CopyFrom(node)
        if node.name in chosen:
            insertion.quantize_inputs(changed, chosen[node.name])
        insertion.nodes.append(changed)
    used = {name for node in insertion.nodes for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(insertion.nodes)
    graph.initializer.extend([*kept, *insertion.added.values()])
    return quantized


def prepared(model: ModelProto) -> ModelProto:
    """Convert the graph to an opset whose scales may be of its own type."""
    return set_opset(model, max(opset_of(model), SCALE_OPSET))


@dataclass
class Insertion:
    """What is put in so far; what is quantized once is shared.

    Attributes:
        nodes: In the order of the graph.
        added: New initializers by name.
        done: Tensor to what stands for it once it is quantized.
    """

    model: ModelProto
    amax: Mapping[str, float]
    format: Format
    nodes: list[NodeProto] = field(default_factory=list)
    added: dict[str, TensorProto] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    weights: dict[str, TensorProto] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.weights = {weight.name: weight for weight in graph.initializer}
        inferred = shape_inference.infer_shapes(self.model).graph
        infos = (*inferred.value_info, *inferred.input, *inferred.output)
        self.types = {info.name: info.type.tensor_type.elem_type for info in infos}
        self.types |= {name: weight.data_type for name, weight in self.weights.items()}
        # A cast has the range of what it casts.
        self.sources = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Cast"}

    def quantize_inputs(self, node: NodeProto, product: Product) -> None:
        """Put quantization in front of a node's factors, changing its inputs."""
        for index, name in product.activations:
            node.input[index] = self._activation(name)
        if product.weight:
            node.input[product.weight_input] = self._weight(product.weight, product.axis)

    def _activation(self, name: str) -> str:
        """Return the tensor after its pair of QuantizeLinear and DequantizeLinear."""
        if name in self.done:
            return self.done[name]
        scale = self.format.scale_for(self._range(name), self._dtype(name))
        constants = self._constants(name, scale)
        stored, restored = f"{name}_quantized", f"{name}_dequantized"
        self.nodes += [
            helper.make_node(
                "QuantizeLinear", [name, *constants], [stored], f"{name}/QuantizeLinear"
            ),
            helper.make_node(
                "DequantizeLinear", [stored, *constants], [restored], f"{name}/DequantizeLinear"
            ),
        ]
        self.done[name] = restored
        return restored

    def _weight(self, name: str, axis: int | None) -> str:
        """Return the weight, stored in eight bits, after its DequantizeLinear."""
        key = f"{name}@{axis}"
        if key in self.done:
            return self.done[key]
        values = numpy_helper.to_array(self.weights[name])
        scale = self.format.scale_for(magnitude(values, axis), self._dtype(name))
        stored = self.format.quantize(values, along(scale, axis, values.ndim))
        base = name if f"{name}_quantized" not in self.added else key
        quantized, restored = f"{base}_quantized", f"{base}_dequantized"
        self.added[quantized] = numpy_helper.from_array(stored, quantized)
        inputs = [quantized, *self._constants(base, scale)]
        name = f"{base}/DequantizeLinear"
        node = helper.make_node("DequantizeLinear", inputs, [restored], name)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)
        self.done[key] = restored
        return restored

    def _constants(self, name: str, scale: NDArray[Any]) -> tuple[str, str]:
        """Scale and zero point as initializers."""
        names = f"{name}_scale", f"{name}_zero_point"
        values = scale, self.format.zeros(*scale.shape)
        for key, array in zip(names, values, strict=True):
            self.added[key] = numpy_helper.from_array(array, key)
        return names

    def _range(self, name: str) -> float:
        while name not in self.amax and name in self.sources:
            name = self.sources[name]
        if name not in self.amax:
            raise PrecisionError(
                f"there is no range for {name}, which a quantized product takes",
                "run hrvit-deploy calibrate on the float32 graph again",
            )
        return self.amax[name]

    def _dtype(self, name: str) -> type:
        kind = self.types.get(name, int(TensorProto.UNDEFINED))
        if kind not in SCALE_TYPES:
            raise PrecisionError(
                f"{name} is {TensorProto.DataType.Name(kind).lower()}; only float32 and float16"
                " graphs can be quantized",
                "start from an fp32 or fp16 export",
            )
        return SCALE_TYPES[kind]


def magnitude(values: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Return the largest magnitude of a weight, or of each slice along an axis."""
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis)
    largest: NDArray[Any] = np.abs(values.astype(np.float32)).max(axis=others)
    return largest


def along(scale: NDArray[Any], axis: int | None, ndim: int) -> NDArray[Any]:
    """Shape scales to broadcast against a weight of ``ndim`` axes."""
    if axis is None:
        return scale
    return scale.reshape([-1 if i == axis else 1 for i in range(ndim)])
