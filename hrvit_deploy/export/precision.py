"""A float32 graph typed in float16 or bfloat16, with islands where that would overflow.

Strongly typed builders, TensorRT 11 the first that knows no other kind, take every type
from the graph. So precision is decided here, once, for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.export.hard_swish import split_hard_swish
from hrvit_deploy.export.magnitudes import float_tensors
from hrvit_deploy.graphs import ELEMENT_TYPES, opset_of, set_opset
from hrvit_deploy.options import BFLOAT16_OPSET, Precision

FLOAT16_MAX = 65504.0
# Real images are few and the largest value over all of them is not the largest there is.
HEADROOM = 4.0
NUMPY_TYPES: dict[int, type] = {
    int(TensorProto.FLOAT16): np.float16,
    int(TensorProto.BFLOAT16): ml_dtypes.bfloat16,
}
# Inputs that stay float32 whatever the data is: Resize's region and scales.
FLOAT32_INPUTS = {"Resize": (1, 2)}


@dataclass(frozen=True)
class Typed:
    """A narrower graph.

    Attributes:
        model: Typed graph.
        islands: Node name to the largest magnitude that kept it in float32.
    """

    model: ModelProto
    islands: dict[str, float]


def retype(
    model: ModelProto,
    precision: Precision,
    magnitudes: Mapping[str, float],
    *,
    half_io: bool = False,
    headroom: float = HEADROOM,
) -> Typed:
    """Type a float32 graph in float16 or bfloat16.

    Args:
        model: The float32 graph.
        precision: FP16 or BF16.
        magnitudes: Largest absolute value of each activation, as measured; bfloat16 has
            float32's range and does not look.
        half_io: Whether inputs and outputs take the narrow type too.
        headroom: How many times larger than measured a value may become.

    Returns:
        The typed graph; nodes that touch a value above 65504 / headroom stay float32.

    Raises:
        PrecisionError: The graph holds no float32, a value that is not finite, or a weight
            beyond the narrow type.
    """
    narrow = ELEMENT_TYPES[precision]
    if precision is Precision.BF16:
        opset = max(opset_of(model), BFLOAT16_OPSET)
        model = split_hard_swish(set_opset(model, opset))
    if precision is Precision.FP16:
        _check_finite(magnitudes)
    limit = FLOAT16_MAX / headroom if precision is Precision.FP16 else float("inf")
    islands = find_islands(model, magnitudes, limit)
    floats = float_tensors(model)
    if not floats:
        raise PrecisionError(
            "the graph holds no float32 activations to narrow", "start from an fp32 export"
        )
    typing = _Typing(model, narrow, floats, islands, half_io=half_io)
    return Typed(typing.run(), islands)


def _check_finite(magnitudes: Mapping[str, float]) -> None:
    broken = [tensor for tensor, largest in magnitudes.items() if not np.isfinite(largest)]
    if broken:
        raise PrecisionError(
            f"{len(broken)} activations are NaN or infinite in float32 already, first"
            f" {broken[0]}",
            "export in fp32 and verify it: the weights or the images are broken",
        )


def find_islands(
    model: ModelProto, magnitudes: Mapping[str, float], limit: float
) -> dict[str, float]:
    """Find nodes that read or write a value above ``limit``, with that value."""
    islands = {}
    for node in model.graph.node:
        largest = max((magnitudes.get(t, 0.0) for t in (*node.input, *node.output)), default=0)
        if largest > limit:
            islands[node.name or node.output[0]] = largest
    return islands


@dataclass
class _Typing:
    """One pass over the graph in order, casting where a node wants another type."""

    model: ModelProto
    narrow: int
    floats: set[str]
    islands: Mapping[str, float]
    half_io: bool
    types: dict[str, int] = field(default_factory=dict)
    casts: dict[tuple[str, int], str] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, TensorProto] = field(default_factory=dict)
    added: dict[str, TensorProto] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        constants = [node for node in graph.node if _is_float_constant(node)]
        self.weights = {
            w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT
        }
        self.weights |= {node.output[0]: _constant(node) for node in constants}
        self.nodes = [node for node in graph.node if not _is_float_constant(node)]

    def run(self) -> ModelProto:
        typed = ModelProto()
        typed.CopyFrom(self.model)
        graph = typed.graph
        body, self.nodes = self.nodes, []
        for info in graph.input:
            if info.name in self.floats:
                self.types[info.name] = self._retype_io(info)
        for node in body:
            self._convert(node)
        for info in graph.output:
            if info.name in self.floats:
                self._finish(info.name, self._retype_io(info))
        kept = [w for w in graph.initializer if w.name not in self.weights]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend([*kept, *self.added.values()])
        return typed

    def _retype_io(self, info: ValueInfoProto) -> int:
        wanted = self.narrow if self.half_io else int(TensorProto.FLOAT)
        info.type.tensor_type.elem_type = wanted
        return wanted

    def _convert(self, node: NodeProto) -> None:
        wanted = TensorProto.FLOAT if self._is_island(node) else self.narrow
        changed = NodeProto()
        changed.CopyFrom(node)
        exempt = FLOAT32_INPUTS.get(node.op_type, ())
        for index, name in enumerate(node.input):
            kind = TensorProto.FLOAT if index in exempt else wanted
            if name in self.weights:
                changed.input[index] = self._weight(name, kind)
            elif name in self.types:
                changed.input[index] = self._cast(name, kind)
        if node.op_type == "Cast":
            for attribute in changed.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = wanted
        elif not any(name in self.weights or name in self.types for name in node.input):
            # Made of no floats, such as ConstantOfShape: the type is its own.
            wanted = TensorProto.FLOAT
        self.nodes.append(changed)
        self.types.update({name: wanted for name in node.output if name in self.floats})

    def _is_island(self, node: NodeProto) -> bool:
        return (node.name or node.output[0]) in self.islands

    def _weight(self, name: str, wanted: int) -> str:
        """Return the weight in that type; the first type keeps the name."""
        if name not in self.added or self.added[name].data_type == wanted:
            key = name
        else:
            key = f"{name}_{TensorProto.DataType.Name(wanted).lower()}"
        if key not in self.added:
            array = numpy_helper.to_array(self.weights[name])
            if wanted != TensorProto.FLOAT:
                array = _narrowed(array, NUMPY_TYPES[wanted], name)
            self.added[key] = numpy_helper.from_array(array, key)
        return key

    def _cast(self, name: str, wanted: int) -> str:
        if self.types[name] == wanted:
            return name
        if (name, wanted) not in self.casts:
            cast = f"{name}_{TensorProto.DataType.Name(wanted).lower()}"
            self.nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=wanted))
            self.casts[name, wanted] = cast
        return self.casts[name, wanted]

    def _finish(self, name: str, wanted: int) -> None:
        """End the graph in a cast if an output was computed in another type."""
        if self.types.get(name, wanted) == wanted:
            return
        inner = f"{name}_computed"
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [inner if item == name else item for item in names]
        self.nodes.append(
            helper.make_node("Cast", [inner], [name], name=f"{name}_cast", to=wanted)
        )


def _is_float_constant(node: NodeProto) -> bool:
    return node.op_type == "Constant" and any(
        a.name == "value" and a.t.data_type == TensorProto.FLOAT for a in node.attribute
    )


def _constant(node: NodeProto) -> TensorProto:
    values: list[TensorProto] = [a.t for a in node.attribute if a.name == "value"]
    return values[0]


def _narrowed(array: NDArray[Any], dtype: type, name: str) -> NDArray[Any]:
    """Cast a weight to a narrower type; refuse what that cannot hold."""
    with np.errstate(over="ignore"):
        narrow: NDArray[Any] = array.astype(dtype)
    lost = ~np.isfinite(narrow.astype(np.float32)) & np.isfinite(array)
    if lost.any():
        raise PrecisionError(
            f"weight {name} holds {np.abs(array[lost]).max():.3g}, beyond the narrow type",
            "use --precision bf16, which has float32's range, or fp32",
        )
    return narrow
