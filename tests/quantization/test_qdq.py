"""QuantizeLinear and DequantizeLinear as TensorRT takes them, and what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support.graph_making import FLOAT, Value, floats, make_graph, run_graph, types_of

from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.options import Group, Precision
from hrvit_deploy.quantization.formats import FORMATS, Format
from hrvit_deploy.quantization.products import choose_products, find_products
from hrvit_deploy.quantization.qdq import along, insert_qdq, magnitude
from hrvit_deploy.quantization.switches import SWITCHES, insert_switches

node = helper.make_node
INT8, FP8 = FORMATS[Precision.INT8], FORMATS[Precision.FP8]
AMAX = {"image": 3.0, "tokens": 6.0, "mixed": 4.0}
IMAGE = floats(2, 4, 5, 5).clip(-3, 3)
WEIGHTS = {
    "w": floats(6, 4, 1, 1, seed=1),
    "fc": floats(6, 3, seed=2),
    "bias": floats(3, seed=3),
    "last": floats(3, 2, seed=4),
}


def graph(dtype: Any = np.float32, opset: int = 20) -> ModelProto:
    """A convolution whose output two linears share, a sum, and a last linear."""
    kind = int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    return make_graph(
        [
            node("Conv", ["image", "w"], ["map"], "conv"),
            node("Transpose", ["map"], ["swapped"], "swap", perm=[0, 2, 3, 1]),
            node("Reshape", ["swapped", "rows"], ["tokens"], "flatten"),
            node("Gemm", ["tokens", "fc", "bias"], ["one"], "one"),
            node("MatMul", ["tokens", "fc"], ["two"], "two"),
            node("Add", ["one", "two"], ["mixed"], "sum"),
            node("MatMul", ["mixed", "last"], ["logits"], "decide"),
        ],
        Value("image", IMAGE.shape, kind),
        [Value("logits", (50, 2), kind)],
        {"rows": np.array([50, 6]), **{k: v.astype(dtype) for k, v in WEIGHTS.items()}},
        opset,
    )


def quantized(
    model: ModelProto,
    number_format: Format = INT8,
    groups: Any = (Group.LINEAR, Group.POINTWISE),
) -> ModelProto:
    chosen = choose_products(find_products(model), groups)
    return insert_qdq(model, chosen, AMAX, number_format)


def rounded(values: NDArray[Any], scale: Any, number_format: Format = INT8) -> NDArray[Any]:
    scale = np.asarray(scale)
    return number_format.dequantize(number_format.quantize(values, scale), scale)


def by_hand(number_format: Format = INT8) -> NDArray[Any]:
    """The graph in NumPy, every factor of a product rounded."""

    def weight(name: str, axis: int) -> NDArray[Any]:
        values = WEIGHTS[name]
        scale = number_format.scale_for(magnitude(values, axis), np.float32)
        return rounded(values, along(scale, axis, values.ndim), number_format)

    def activation(values: NDArray[Any], name: str) -> NDArray[Any]:
        scale = number_format.scale_for(AMAX[name], np.float32)
        return rounded(values, scale, number_format)

    pixels = activation(IMAGE, "image").transpose(0, 2, 3, 1).reshape(50, 4)
    tokens = activation(pixels @ weight("w", 0).reshape(6, 4).T, "tokens")
    mixed = 2 * tokens @ weight("fc", 1) + WEIGHTS["bias"]
    result: NDArray[Any] = mixed @ WEIGHTS["last"]
    return result


@pytest.mark.parametrize("number_format", [INT8, FP8], ids=["int8", "fp8"])
def test_onnxruntime_computes_what_the_formats_say(
    number_format: Format, tmp_path: Path
) -> None:
    model = quantized(graph(), number_format)
    onnx.checker.check_model(model, full_check=True)
    answer = run_graph(model, tmp_path, image=IMAGE)["logits"]
    np.testing.assert_allclose(answer, by_hand(number_format), rtol=1e-4, atol=1e-4)


def test_every_factor_and_nothing_else_is_quantized() -> None:
    model = quantized(graph())
    makers = {name: made for made in model.graph.node for name in made.output}
    factors = {
        made.name: [makers[name].op_type for name in made.input[:2] if name in makers]
        for made in model.graph.node
        if made.op_type in ("Conv", "Gemm", "MatMul", "Add")
    }
    pair = ["DequantizeLinear"] * 2
    assert factors == {
        "conv": pair,
        "one": pair,
        "two": pair,
        "sum": ["Gemm", "MatMul"],
        "decide": ["Add"],
    }
    # What two products share is quantized once.
    kinds = [made.op_type for made in model.graph.node]
    assert kinds.count("QuantizeLinear") == 2


def test_it_is_symmetric_with_a_scale_for_each_channel_of_a_weight() -> None:
    model = quantized(graph())
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    for name, shape in {"image": (), "tokens": (), "w": (6,), "fc": (3,)}.items():
        assert weights[f"{name}_scale"].shape == shape
        zero = weights[f"{name}_zero_point"]
        assert zero.shape == shape
        assert zero.dtype == np.int8
        assert not zero.any()
    assert weights["w_quantized"].dtype == np.int8
    assert np.abs(weights["w_quantized"]).max(axis=(1, 2, 3)).tolist() == [127] * 6
    axes = {
        made.input[0]: [a.i for a in made.attribute]
        for made in model.graph.node
        if made.op_type == "DequantizeLinear"
    }
    assert axes["w_quantized"] == [0]
    assert axes["fc_quantized"] == [1]
    # The float weights are gone; what is not quantized stays.
    assert not {"w", "fc"} & weights.keys()
    assert {"bias", "last"} <= weights.keys()


def test_scales_are_of_the_graphs_own_type() -> None:
    model = quantized(graph(np.float16, opset=17))
    assert model.opset_import[0].version == 19
    onnx.checker.check_model(model, full_check=True)
    types = types_of(model)
    for name in ("image", "tokens", "w", "fc"):
        assert types[f"{name}_scale"] == TensorProto.FLOAT16
        assert types[f"{name}_dequantized"] == TensorProto.FLOAT16
    assert types["w_quantized"] == TensorProto.INT8


def test_a_float32_island_in_a_float16_graph_keeps_its_own_scales() -> None:
    model = make_graph(
        [
            node("Cast", ["image"], ["wide"], "widen", to=FLOAT),
            node("Conv", ["wide", "w"], ["map"], "conv"),
            node("Conv", ["map", "v"], ["logits"], "decide"),
        ],
        Value("image", IMAGE.shape, int(TensorProto.FLOAT16)),
        [Value("logits", (2, 3, 5, 5))],
        {"w": WEIGHTS["w"], "v": floats(3, 6, 1, 1)},
    )
    types = types_of(quantized(model))
    # The range is that of what was cast.
    assert types["wide_scale"] == types["w_scale"] == TensorProto.FLOAT


def test_a_missing_range_is_named() -> None:
    model = graph()
    with pytest.raises(PrecisionError, match="no range for tokens") as caught:
        insert_qdq(model, find_products(model), {"image": 1.0}, INT8)
    assert "calibrate" in caught.value.hint


def test_other_types_are_refused() -> None:
    kind = int(TensorProto.BFLOAT16)
    model = helper.make_model(
        helper.make_graph(
            [node("MatMul", ["image", "w"], ["y"], "mix")],
            "bf16",
            [helper.make_tensor_value_info("image", kind, (2, 2))],
            [helper.make_tensor_value_info("y", kind, (2, 2))],
            [helper.make_tensor("w", kind, (2, 2), [1.0] * 4)],
        ),
        opset_imports=[helper.make_opsetid("", 22)],
    )
    with pytest.raises(PrecisionError, match="image is bfloat16; only float32 and float16"):
        insert_qdq(model, find_products(model), {"image": 1.0}, INT8)


def test_a_dead_channel_stays_zero(tmp_path: Path) -> None:
    model = graph()
    (weight,) = (w for w in model.graph.initializer if w.name == "w")
    values = WEIGHTS["w"].copy()
    values[2] = 0
    weight.CopyFrom(numpy_helper.from_array(values, "w"))
    answer = run_graph(quantized(model), tmp_path, image=IMAGE)["logits"]
    assert np.isfinite(answer).all()


def test_switches_choose_among_the_same_graphs(tmp_path: Path) -> None:
    model = graph()
    products = choose_products(find_products(model), (Group.LINEAR, Group.POINTWISE))
    switched = insert_switches(model, products, AMAX, INT8)
    onnx.checker.check_model(switched)

    def answer(*on: bool) -> Any:
        return run_graph(switched, tmp_path, image=IMAGE, **{SWITCHES: np.array(on)})["logits"]

    plain = run_graph(model, tmp_path, image=IMAGE)["logits"]
    np.testing.assert_allclose(answer(False, False, False), plain, atol=1e-5)
    everything = run_graph(quantized(model), tmp_path, image=IMAGE)["logits"]
    np.testing.assert_allclose(answer(True, True, True), everything, atol=1e-5)
    for index, product in enumerate(products):
        alone = run_graph(insert_qdq(model, [product], AMAX, INT8), tmp_path, image=IMAGE)
        on = [i == index for i in range(3)]
        np.testing.assert_allclose(answer(*on), alone["logits"], atol=1e-5)
        assert np.abs(alone["logits"] - plain).max() > 1e-3
