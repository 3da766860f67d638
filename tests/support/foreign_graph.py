"""A graph as another tool's quantization-aware training exports it."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper

from support.graph_making import Value, floats, make_graph

node = helper.make_node


def foreign(
    size: tuple[int, int] = (64, 96), *, dtype: type = np.float32, quantized: bool = True
) -> ModelProto:
    """Two convolutions as a trainer exports them: float weights behind a full pair."""
    kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    pairs = [
        made
        for name in ("image", "w", "v", "map")
        for made in (
            node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"], f"q_{name}"),
            node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"], f"d_{name}"),
        )
    ]
    suffix = "_d" if quantized else ""
    first = node("Conv", [f"image{suffix}", f"w{suffix}"], ["map"], "one", strides=[4, 4])
    last = node("Conv", [f"map{suffix}", f"v{suffix}"], ["scores"], "two")
    nodes = [*pairs[:6], first, *pairs[6:], last] if quantized else [first, last]
    height, width = size
    return make_graph(
        nodes,
        Value("image", (1, 3, height, width), kind),
        [Value("scores", (1, 5, height // 4, width // 4), kind)],
        {
            "w": floats(8, 3, 4, 4).astype(dtype),
            "v": floats(5, 8, 1, 1).astype(dtype),
            "s": np.array(0.05, dtype),
            "z": np.array(0, np.int8),
        },
    )
