"""Emulated bfloat16 rounds where an accelerator would, and nowhere else."""

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
from support.graph_making import FLOAT, Arrays, Value, floats, make_graph

from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner
from hrvit_deploy.runners.rounding import round_everywhere

BF16 = int(TensorProto.BFLOAT16)
node = helper.make_node
MATRIX = floats(4, 4, seed=1).astype(ml_dtypes.bfloat16)
SHIFT = floats(4, seed=2).astype(ml_dtypes.bfloat16)


def network(taken: int = FLOAT, returned: int = FLOAT) -> ModelProto:
    """``(image @ matrix + shift) ** 2`` and a part of it, float32 outside or not."""
    inner = "image" if taken == BF16 else "narrow"
    outer = "logits" if returned == BF16 else "squared"
    third = numpy_helper.from_array(np.array(1 / 3, ml_dtypes.bfloat16), "third")
    nodes = [
        node("Cast", ["image"], ["narrow"], "in", to=BF16),
        node("Constant", [], ["third"], "third", value=third),
        node("MatMul", [inner, "matrix"], ["mixed"], "matmul"),
        node("Add", ["mixed", "shift"], ["moved"], "add"),
        node("Transpose", ["moved"], ["turned"], "turn", perm=[1, 0]),
        node("Mul", ["turned", "third"], ["less"], "mul"),
        node("Mul", ["less", "less"], [outer], "square"),
        node("Cast", ["squared"], ["logits"], "out", to=FLOAT),
    ]
    return make_graph(
        nodes[taken == BF16 : len(nodes) - (returned == BF16)],
        Value("image", ("batch", 4), taken),
        [Value("logits", (4, "batch"), returned)],
        {"matrix": MATRIX, "shift": SHIFT},
        22,
    )


def by_hand(image: NDArray[Any]) -> NDArray[Any]:
    """The same in NumPy: products accumulate in float32, results round."""
    narrow = ml_dtypes.bfloat16
    exact = image.astype(narrow).astype(np.float32) @ MATRIX.astype(np.float32)
    moved = exact.astype(narrow) + SHIFT
    less = moved.T * narrow(1 / 3)
    squared: NDArray[Any] = less * less
    assert squared.dtype == narrow
    return squared


def run(model: ModelProto, folder: Path, image: NDArray[Any], *, optimize: bool) -> Arrays:
    emulated = round_everywhere(model, TensorProto.BFLOAT16)
    onnx.checker.check_model(emulated, full_check=True)
    path = folder / "emulated.onnx"
    onnx.save(emulated, path)
    with OnnxRuntimeRunner(path, threads=1, optimize=optimize) as runner:
        return runner.run({"image": image})


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("taken", [FLOAT, BF16])
@pytest.mark.parametrize("returned", [FLOAT, BF16])
def test_every_result_is_rounded_to_bfloat16(
    tmp_path: Path, taken: int, returned: int, optimize: bool
) -> None:
    types = {FLOAT: np.float32, BF16: ml_dtypes.bfloat16}
    image = floats(50, 4).astype(types[taken])

    answer = run(network(taken, returned), tmp_path, image, optimize=optimize)["logits"]

    assert answer.dtype == types[returned]
    expected = by_hand(image).astype(np.float32)
    # Sums of four products may come in another order, and a tie then round the other way.
    same = answer.astype(np.float32) == expected
    assert same.mean() > 0.97
    np.testing.assert_allclose(answer.astype(np.float32), expected, rtol=0.05, atol=1e-3)
    # In float32 hardly any result would be the same.
    wide = image.astype(np.float32) @ MATRIX.astype(np.float32) + SHIFT.astype(np.float32)
    assert np.mean(expected == ((wide.T / 3) ** 2)) < 0.1


def test_bfloat16_reaches_as_far_as_float32(tmp_path: Path) -> None:
    image = np.full((1, 4), 1e15, np.float32)

    answer = run(network(), tmp_path, image, optimize=True)["logits"]

    assert np.isfinite(answer).all()
    assert answer.max() > 1e25


def test_float32_parts_do_not_round(tmp_path: Path) -> None:
    model = make_graph(
        [
            node("Mul", ["image", "third"], ["exact"], "wide"),
            node("Cast", ["exact"], ["narrow"], "in", to=BF16),
            node("Neg", ["narrow"], ["negative"], "neg"),
            node("Cast", ["negative"], ["wide"], "out", to=FLOAT),
            node("Add", ["wide", "exact"], ["logits"], "error"),
        ],
        Value("image", (1, 4)),
        [Value("logits", (1, 4))],
        {"third": np.array(1 / 3, np.float32)},
        22,
    )
    image = floats(1, 4)

    answer = run(model, tmp_path, image, optimize=False)["logits"]

    exact = image * np.float32(1 / 3)
    expected = exact - exact.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.abs(expected).max() > 0
    np.testing.assert_array_equal(answer, expected)


def test_signature_and_model_stay_as_they_were() -> None:
    model = network(BF16, BF16)
    before = model.SerializeToString()

    emulated = round_everywhere(model, TensorProto.BFLOAT16)

    assert model.SerializeToString() == before
    assert list(emulated.graph.input) == list(model.graph.input)
    assert list(emulated.graph.output) == list(model.graph.output)


def test_a_float32_graph_stays_the_same() -> None:
    model = make_graph(
        [node("Relu", ["image"], ["logits"], "relu")],
        Value("image", (1, 2)),
        [Value("logits", (1, 2))],
    )

    assert list(round_everywhere(model, TensorProto.BFLOAT16).graph.node) == list(
        model.graph.node
    )


def test_float16_overflows_where_it_would() -> None:
    """onnxruntime alone computes this in float32 and returns 1000."""
    big = numpy_helper.from_array(np.array(1000, np.float16), "big")
    model = make_graph(
        [
            node("Constant", [], ["big"], "big", value=big),
            node("Cast", ["image"], ["narrow"], "in", to=TensorProto.FLOAT16),
            node("Mul", ["narrow", "big"], ["product"], "mul"),
            node("Sqrt", ["product"], ["root"], "sqrt"),
            node("Cast", ["root"], ["logits"], "out", to=FLOAT),
        ],
        Value("image", (1, 2), FLOAT),
        [Value("logits", (1, 2), FLOAT)],
        {},
        20,
    )
    emulated = round_everywhere(model, TensorProto.FLOAT16)

    evaluator = ReferenceEvaluator(emulated)
    (answer,) = evaluator.run(None, {"image": np.array([[1000, 4]], np.float32)})
    roots = np.asarray(answer)

    assert np.isinf(roots[0, 0])
    assert roots[0, 1] == np.float16(np.sqrt(4000))
