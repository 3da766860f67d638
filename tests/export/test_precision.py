"""Narrowing types every node, and leaves in float32 what would overflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from support.graph_making import FLOAT, Arrays, Value, floats, make_graph, run_graph, types_of

from hrvit_deploy import graphs
from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.export.magnitudes import measure
from hrvit_deploy.export.precision import FLOAT16_MAX, HEADROOM, find_islands, retype
from hrvit_deploy.options import Precision
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.rounding import round_everywhere

HALF = int(TensorProto.FLOAT16)
BFLOAT = int(TensorProto.BFLOAT16)
NARROW = {Precision.FP16: HALF, Precision.BF16: BFLOAT}
BOTH = pytest.mark.parametrize("precision", list(NARROW))
node = helper.make_node


def constant(name: str, array: NDArray[Any]) -> onnx.NodeProto:
    return node("Constant", [], [name], name, value=numpy_helper.from_array(array, name))


def network() -> ModelProto:
    """One of every kind of node, ``1 x 3 x 8 x 8`` to ``1 x 4 x 16 x 16``."""
    weights: Arrays = {
        "kernel": floats(4, 3, 1, 1),
        "scale": floats(4, seed=1),
        "shift": floats(4, seed=2),
        "matrix": floats(4, 4, seed=3),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    return make_graph(
        [
            constant("flat", np.array([64, 4])),
            constant("square", np.array([1, 8, 8, 4])),
            node("Conv", ["image", "kernel"], ["features"], "conv"),
            node("Transpose", ["features"], ["tokens"], "rows", perm=[0, 2, 3, 1]),
            node("LayerNormalization", ["tokens", "scale", "shift"], ["normed"], "norm"),
            node("MatMul", ["normed", "matrix"], ["mixed"], "matmul"),
            constant("half", np.array(0.5, np.float32)),
            node("Mul", ["mixed", "half"], ["halved"], "mul"),
            node("Reshape", ["halved", "flat"], ["rows"], "reshape"),
            node("Gemm", ["rows", "matrix", "shift"], ["dense"], "gemm"),
            node("HardSwish", ["dense"], ["gated"], "swish"),
            node("Reshape", ["gated", "square"], ["back"], "unflatten"),
            node("Transpose", ["back"], ["maps"], "maps", perm=[0, 3, 1, 2]),
            node("Resize", ["maps", "", "scales"], ["logits"], "resize", mode="linear"),
        ],
        Value("image", (1, 3, 8, 8)),
        [Value("logits", (1, 4, 16, 16))],
        weights,
    )


def answers(model: ModelProto, folder: Path, image: NDArray[Any]) -> Arrays:
    """What a graph of any precision makes of an image."""
    onnx.checker.check_model(model, full_check=True)
    if BFLOAT in types_of(model).values():
        model = round_everywhere(model, TensorProto.BFLOAT16)
    return run_graph(model, folder, image=image)


def in_float16(model: ModelProto, image: NDArray[Any]) -> NDArray[Any]:
    """What NumPy makes of a float16 graph.

    onnxruntime has few float16 kernels for a CPU and computes the rest in float32, where
    nothing overflows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        answers: Any = ReferenceEvaluator(model).run(None, {"image": image})
    (answer,) = answers
    return np.asarray(answer)


@BOTH
def test_every_product_runs_in_the_narrow_type(precision: Precision, tmp_path: Path) -> None:
    narrow = NARROW[precision]
    typed = retype(network(), precision, {}).model

    types = types_of(typed)
    products = [n for n in typed.graph.node if n.op_type in ("Conv", "MatMul", "Gemm")]
    assert len(products) == 3
    for product in products:
        assert {types[name] for name in (*product.input, *product.output)} == {narrow}
    casts = [n for n in typed.graph.node if n.op_type == "Cast"]
    assert len(casts) == 2
    image = floats(1, 3, 8, 8, seed=4)
    expected = run_graph(network(), tmp_path, image=image)["logits"]
    answer = answers(typed, tmp_path, image)["logits"]
    within = {Precision.FP16: 1e-2, Precision.BF16: 8e-2}[precision]
    error = np.abs(answer - expected).max() / expected.std()
    assert 0 < error < within


@BOTH
def test_layer_norm_stays_one_operator(precision: Precision) -> None:
    typed = retype(network(), precision, {}).model

    (norm,) = [n for n in typed.graph.node if n.op_type == "LayerNormalization"]
    types = types_of(typed)
    assert [types[name] for name in norm.input] == [NARROW[precision]] * 3


@BOTH
def test_resize_keeps_float32_scales(precision: Precision) -> None:
    typed = retype(network(), precision, {}).model

    (resize,) = [n for n in typed.graph.node if n.op_type == "Resize"]
    types = types_of(typed)
    assert types[resize.input[2]] == FLOAT
    assert types[resize.input[0]] == NARROW[precision]


@BOTH
@pytest.mark.parametrize("half", [False, True])
def test_inputs_and_outputs_are_float32_unless_asked(precision: Precision, half: bool) -> None:
    typed = retype(network(), precision, {}, half_io=half).model

    types = types_of(typed)
    wanted = NARROW[precision] if half else FLOAT
    assert (types["image"], types["logits"]) == (wanted, wanted)
    casts = [n for n in typed.graph.node if n.op_type == "Cast"]
    assert len(casts) == (0 if half else 2)


@BOTH
def test_the_graph_given_is_left_alone(precision: Precision) -> None:
    model = network()
    before = model.SerializeToString()

    retype(model, precision, {"features": 1e5})

    assert model.SerializeToString() == before


def test_float_constants_are_narrowed_and_indices_are_not() -> None:
    typed = retype(network(), Precision.FP16, {}).model

    weights = {w.name: w for w in typed.graph.initializer}
    assert weights["half"].data_type == HALF
    assert numpy_helper.to_array(weights["half"]) == 0.5
    constants = [n.output[0] for n in typed.graph.node if n.op_type == "Constant"]
    assert constants == ["flat", "square"]


@BOTH
def test_constants_of_plain_numbers_stay_what_they_are(
    precision: Precision, tmp_path: Path
) -> None:
    model = make_graph(
        [
            node("Constant", [], ["three"], "three", value_float=3.0),
            node("Mul", ["image", "three"], ["tripled"], "mul"),
            node("Shape", ["image"], ["shape"], "shape"),
            node("ConstantOfShape", ["shape"], ["zeros"], "zeros"),
            node("Add", ["tripled", "zeros"], ["logits"], "add"),
        ],
        Value("image", (1, 3)),
        [Value("logits", (1, 3))],
    )
    typed = retype(model, precision, {}).model

    answer = answers(typed, tmp_path, np.array([[1, 2, 4]], np.float32))
    np.testing.assert_array_equal(answer["logits"], [[3, 6, 12]])
    assert types_of(typed)["tripled"] == NARROW[precision]


def overflowing() -> ModelProto:
    """Squares of thousands in the middle, brought back to ones at the end."""
    return make_graph(
        [
            node("Mul", ["image", "thousand"], ["large"], "grow"),
            node("Mul", ["large", "large"], ["squared"], "square"),
            node("Sqrt", ["squared"], ["root"], "root"),
            node("Div", ["root", "thousand"], ["small"], "shrink"),
            node("MatMul", ["small", "matrix"], ["logits"], "matmul"),
        ],
        Value("image", (2, 3)),
        [Value("logits", (2, 4))],
        {"thousand": np.array(1000, np.float32), "matrix": floats(3, 4)},
    )


def test_measured_islands_keep_what_float16_would_lose(tmp_path: Path) -> None:
    model, image = overflowing(), floats(2, 3, seed=5)
    expected = run_graph(model, tmp_path, image=image)["logits"]
    magnitudes = measure(model, [image], SilentProgress())
    assert magnitudes["squared"] > FLOAT16_MAX

    kept = retype(model, Precision.FP16, magnitudes)
    lost = retype(model, Precision.FP16, {})

    largest = magnitudes["squared"]
    assert kept.islands == pytest.approx({"square": largest, "root": largest})
    np.testing.assert_allclose(in_float16(kept.model, image), expected, rtol=0, atol=1e-2)
    answer = answers(kept.model, tmp_path, image)["logits"]
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-2)
    types = types_of(kept.model)
    assert types["squared"] == FLOAT
    assert types["logits_computed"] == HALF
    assert lost.islands == {}
    assert not np.isfinite(in_float16(lost.model, image)).any()


def test_bfloat16_needs_no_islands(tmp_path: Path) -> None:
    model, image = overflowing(), floats(2, 3, seed=5)

    typed = retype(model, Precision.BF16, {"squared": 1e30, "root": float("inf")})

    assert typed.islands == {}
    expected = run_graph(model, tmp_path, image=image)["logits"]
    answer = answers(typed.model, tmp_path, image)["logits"]
    np.testing.assert_allclose(answer, expected, rtol=0, atol=5e-2)


@pytest.mark.parametrize("headroom", [1.0, HEADROOM])
def test_an_island_begins_just_above_the_limit(headroom: float) -> None:
    limit = FLOAT16_MAX / headroom

    at = retype(overflowing(), Precision.FP16, {"squared": limit}, headroom=headroom)
    above = retype(overflowing(), Precision.FP16, {"squared": limit * 1.001}, headroom=headroom)

    assert at.islands == {}
    assert above.islands == dict.fromkeys(("square", "root"), limit * 1.001)


def test_an_island_is_known_by_its_output_where_it_has_no_name() -> None:
    model = overflowing()
    model.graph.node[1].name = ""

    assert find_islands(model, {"squared": 9.0}, 8.0) == {"squared": 9.0, "root": 9.0}


def test_an_island_may_end_the_graph(tmp_path: Path) -> None:
    model = make_graph(
        [node("Mul", ["image", "million"], ["logits"], "grow")],
        Value("image", (1, 2)),
        [Value("logits", (1, 2))],
        {"million": np.array(1e6, np.float32)},
    )
    image = np.array([[1, 3]], np.float32)

    typed = retype(model, Precision.FP16, {"logits": 3e6})

    assert [n.op_type for n in typed.model.graph.node] == ["Mul"]
    np.testing.assert_array_equal(answers(typed.model, tmp_path, image)["logits"], [[1e6, 3e6]])


def test_a_weight_shared_with_an_island_is_held_twice(tmp_path: Path) -> None:
    model = make_graph(
        [
            node("Add", ["image", "third"], ["near"], "near"),
            node("Mul", ["near", "million"], ["far"], "far"),
            node("Add", ["far", "third"], ["further"], "further"),
            node("Div", ["further", "million"], ["back"], "back"),
            node("Add", ["back", "third"], ["logits"], "end"),
        ],
        Value("image", (1, 2)),
        [Value("logits", (1, 2))],
        {"third": np.array(1 / 3, np.float32), "million": np.array(1e6, np.float32)},
    )
    image = np.array([[1, -2]], np.float32)

    typed = retype(model, Precision.FP16, measure(model, [image], SilentProgress())).model

    types, nodes = types_of(typed), {n.name: n for n in typed.graph.node}
    assert types[nodes["near"].input[1]] == HALF
    assert types[nodes["further"].input[1]] == FLOAT
    assert nodes["near"].input[1] == nodes["end"].input[1]
    held = {w.name: numpy_helper.to_array(w) for w in typed.graph.initializer}
    assert held[nodes["further"].input[1]] == np.float32(1 / 3)
    assert len(held) == 3
    expected = run_graph(model, tmp_path, image=image)["logits"]
    answer = answers(typed, tmp_path, image)["logits"]
    np.testing.assert_allclose(answer, expected, rtol=0, atol=2e-3)


@BOTH
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("island", [False, True])
def test_an_output_may_be_used_inside_as_well(
    precision: Precision, half: bool, island: bool, tmp_path: Path
) -> None:
    model = make_graph(
        [
            node("Add", ["image", "image"], ["twice"], "double"),
            node("Mul", ["twice", "twice"], ["squared"], "square"),
            node("Sub", ["squared", "twice"], ["logits"], "end"),
        ],
        Value("image", (1, 3)),
        [Value("twice", (1, 3)), Value("logits", (1, 3))],
    )
    # Few bits, so that nothing rounds.
    image = np.array([[1, -2, 3]], np.float32)
    largest = {"squared": 1e6 if island else 1.0}

    typed = retype(model, precision, largest, half_io=half).model

    dtype = {HALF: np.float16, BFLOAT: ml_dtypes.bfloat16}[NARROW[precision]]
    given = answers(typed, tmp_path, image.astype(dtype) if half else image)
    np.testing.assert_array_equal(given["twice"].astype(np.float32), [[2, -4, 6]])
    np.testing.assert_array_equal(given["logits"].astype(np.float32), [[2, 20, 30]])
    assert {a.dtype for a in given.values()} == {np.dtype(dtype if half else np.float32)}


def test_casts_to_float32_become_casts_to_the_narrow_type(tmp_path: Path) -> None:
    model = make_graph(
        [
            node("Cast", ["image"], ["pixels"], "cast", to=FLOAT),
            node("Mul", ["pixels", "scale"], ["scaled"], "scale"),
            node("ArgMax", ["scaled"], ["index"], "argmax", axis=1, keepdims=0),
            node("Cast", ["index"], ["classmap"], "narrow", to=int(TensorProto.UINT8)),
        ],
        Value("image", (1, 3, 2), int(TensorProto.UINT8)),
        [Value("classmap", (1, 2), int(TensorProto.UINT8))],
        {"scale": np.array(0.25, np.float32)},
    )

    typed = retype(model, Precision.FP16, {}).model

    types = types_of(typed)
    assert (types["pixels"], types["scaled"]) == (HALF, HALF)
    assert (types["image"], types["classmap"]) == (TensorProto.UINT8, TensorProto.UINT8)
    image = np.array([[[1, 255], [7, 4], [2, 254]]], np.uint8)
    np.testing.assert_array_equal(answers(typed, tmp_path, image)["classmap"], [[1, 0]])


def test_a_weight_beyond_float16_is_refused_and_bf16_takes_it() -> None:
    model = make_graph(
        [node("Mul", ["image", "huge"], ["logits"], "mul")],
        Value("image", (1, 2)),
        [Value("logits", (1, 2))],
        {"huge": np.array([1, -7e4], np.float32)},
    )

    with pytest.raises(PrecisionError) as caught:
        retype(model, Precision.FP16, {"image": 0.1, "logits": 7e3})

    assert "weight huge holds 7e+04" in caught.value.message
    assert "--precision bf16" in caught.value.hint
    assert "fp32" in caught.value.hint
    (weight,) = retype(model, Precision.BF16, {}).model.graph.initializer
    assert numpy_helper.to_array(weight).astype(np.float32)[1] == pytest.approx(-7e4, rel=1e-2)


def test_activations_that_are_broken_already_are_refused() -> None:
    with pytest.raises(PrecisionError) as caught:
        retype(overflowing(), Precision.FP16, {"large": 1.0, "root": float("inf")})

    assert "1 activations are NaN or infinite" in caught.value.message
    assert "root" in caught.value.message
    assert "fp32" in caught.value.hint


@BOTH
def test_a_graph_without_float32_is_refused(precision: Precision) -> None:
    half = retype(network(), Precision.FP16, {}, half_io=True).model

    with pytest.raises(PrecisionError) as caught:
        retype(half, precision, {})

    assert "no float32" in caught.value.message
    assert "fp32" in caught.value.hint


def test_bfloat16_graphs_are_in_an_opset_that_has_it() -> None:
    assert graphs.opset_of(retype(network(), Precision.BF16, {}).model) == 22
    newest = graphs.set_opset(network(), 23)
    typed = retype(newest, Precision.BF16, {}).model
    assert graphs.opset_of(typed) == 23
    assert "HardSwish" not in graphs.count_nodes(typed)


def test_float16_keeps_hard_swish_and_the_opset() -> None:
    typed = retype(network(), Precision.FP16, {}).model
    assert graphs.opset_of(typed) == 20
    assert graphs.count_nodes(typed)["HardSwish"] == 1
