"""What products take, and which tensors are the same values in another order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.graph_making import Value, floats, make_graph, run_graph
from support.measured_graphs import products

from hrvit_deploy.quantization.calibration.tensors import product_inputs, sources, watch

node = helper.make_node


def test_products_take_these() -> None:
    # Neither weights, nor what is computed of them, nor what is only added.
    assert product_inputs(products()) == ("image", "tokens", "mixed", "turned", "scores")


def test_tensors_that_only_move_share_a_source() -> None:
    assert sources(products(), product_inputs(products())) == {
        "image": "image",
        "tokens": "positive",
        "mixed": "mixed",
        "turned": "mixed",
        "scores": "scores",
    }


@pytest.mark.parametrize(
    ("product", "taken", "weight", "returned"),
    [
        (node("Gemm", ["taken", "weight"], ["logits"], transB=1), (2, 4), (3, 4), (2, 3)),
        (
            node("Conv", ["taken", "weight"], ["logits"]),
            (1, 4, 6, 6),
            (2, 4, 1, 1),
            (1, 2, 6, 6),
        ),
        (
            node("ConvTranspose", ["taken", "weight"], ["logits"]),
            (1, 4, 6, 6),
            (4, 2, 1, 1),
            (1, 2, 6, 6),
        ),
    ],
    ids=["Gemm", "Conv", "ConvTranspose"],
)
def test_every_product_counts(
    product: onnx.NodeProto,
    taken: tuple[int, ...],
    weight: tuple[int, ...],
    returned: tuple[int, ...],
) -> None:
    model = make_graph(
        [node("Relu", ["image"], ["taken"]), product],
        Value("image", taken),
        [Value("logits", returned)],
        {"weight": floats(*weight)},
    )

    assert product_inputs(model) == ("taken",)


def test_products_of_integers_do_not_count() -> None:
    model = make_graph(
        [
            node("Cast", ["image"], ["whole"], to=int(TensorProto.INT32)),
            node("MatMul", ["whole", "weight"], ["logits"]),
        ],
        Value("image", (2, 2)),
        [Value("logits", (2, 2), int(TensorProto.INT32))],
        {"weight": np.eye(2, dtype=np.int32)},
    )

    assert product_inputs(model) == ()


@pytest.mark.parametrize(
    ("mover", "extra", "same"),
    [
        (node("Reshape", ["wide", "shape"], ["taken"]), {"shape": np.array([4, 4])}, True),
        (node("Identity", ["wide"], ["taken"]), {}, True),
        (node("Flatten", ["wide"], ["taken"], axis=1), {}, True),
        (node("Transpose", ["wide"], ["taken"], perm=[1, 0]), {}, True),
        (
            node("Slice", ["wide", "from", "to"], ["taken"]),
            {"from": np.array([0, 0]), "to": np.array([4, 4])},
            False,
        ),
        (node("Concat", ["wide", "wide"], ["taken"], axis=1), {}, False),
        (
            node("Gather", ["wide", "picks"], ["taken"], axis=1),
            {"picks": np.array([1, 1, 1, 1])},
            False,
        ),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_only_nodes_that_keep_all_values_are_followed(
    mover: onnx.NodeProto, extra: dict[str, np.ndarray], same: bool
) -> None:
    width = 8 if mover.op_type == "Concat" else 4
    model = make_graph(
        [
            node("Relu", ["image"], ["wide"]),
            mover,
            node("MatMul", ["taken", "weight"], ["logits"]),
        ],
        Value("image", (4, 4)),
        [Value("logits", (4, 2))],
        {"weight": floats(width, 2), **extra},
    )

    assert sources(model, ["taken"]) == {"taken": "wide" if same else "taken"}


def test_constant_nodes_are_weights() -> None:
    value = onnx.numpy_helper.from_array(floats(3, 2))
    model = make_graph(
        [
            node("Constant", [], ["weight"], value=value),
            node("Transpose", ["weight"], ["turned"], perm=[1, 0]),
            node("MatMul", ["image", "weight"], ["hidden"]),
            node("MatMul", ["hidden", "turned"], ["logits"]),
        ],
        Value("image", (1, 3)),
        [Value("logits", (1, 3))],
    )

    assert product_inputs(model) == ("image", "hidden")


def test_watched_tensors_are_returned_instead(tmp_path: Path) -> None:
    model = products()
    before = model.SerializeToString()

    outputs = run_graph(watch(model, ["mixed", "scores"]), tmp_path, image=floats(1, 3, 32, 32))

    assert list(outputs) == ["mixed", "scores"]
    np.testing.assert_allclose(
        outputs["scores"], outputs["mixed"] @ outputs["mixed"].transpose(0, 2, 1), rtol=1e-4
    )
    assert model.SerializeToString() == before
