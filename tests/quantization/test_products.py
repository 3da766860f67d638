"""Which products are quantized, operator by operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper
from support.graph_making import Value, floats, make_graph

from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import DEFAULT_GROUPS, Group
from hrvit_deploy.quantization.products import choose_products, find_products

node = helper.make_node
IMAGE = (1, 4, 6, 6)


def graph(*nodes: NodeProto, **weights: Any) -> ModelProto:
    """Those nodes on a map of 4 channels; another product at the end decides."""
    last = node("Conv", [nodes[-1].output[0], "last"], ["logits"], "decide")
    shape = (1, 3, 6, 6)
    return make_graph(
        [*nodes, last],
        Value("image", IMAGE),
        [Value("logits", shape)],
        {"last": floats(3, 4, 1, 1), **weights},
    )


@pytest.mark.parametrize(
    ("shape", "attributes", "group"),
    [
        ((4, 4, 1, 1), {}, Group.POINTWISE),
        ((4, 4, 3, 3), {"pads": [1] * 4}, Group.DENSE),
        ((4, 4, 1, 3), {"pads": [0, 1, 0, 1]}, Group.DENSE),
        ((4, 1, 3, 3), {"pads": [1] * 4, "group": 4}, Group.DEPTHWISE),
        ((4, 2, 1, 1), {"group": 2}, Group.DEPTHWISE),
    ],
)
def test_convolutions(shape: Any, attributes: Any, group: Group) -> None:
    model = graph(node("Conv", ["image", "w"], ["y"], "conv", **attributes), w=floats(*shape))
    conv, decide = find_products(model)
    assert (conv.name, conv.group, conv.axis) == ("conv", group, 0)
    assert conv.activations == ((0, "image"),)
    assert (conv.weight, conv.weight_input) == ("w", 1)
    assert decide.group is Group.CLASSIFIER


@pytest.mark.parametrize(("transposed", "axis"), [(0, 1), (1, 0)])
def test_linears(transposed: int, axis: int) -> None:
    nodes = [
        node("Reshape", ["image", "flat"], ["rows"]),
        node("Gemm", ["rows", "w"], ["y"], "linear", transB=transposed),
        node("MatMul", ["y", "v"], ["logits"], "decide"),
    ]
    model = make_graph(
        nodes,
        Value("image", IMAGE),
        [Value("logits", (24, 2))],
        {"flat": np.array([24, 6]), "w": floats(6, 6), "v": floats(6, 2)},
    )
    linear, decide = find_products(model)
    assert (linear.group, linear.axis) == (Group.LINEAR, axis)
    # Of two matrices, the second's columns are the output's channels.
    assert (decide.group, decide.axis) == (Group.CLASSIFIER, 1)


def test_a_constant_on_the_left_has_its_channels_in_rows() -> None:
    model = graph(node("MatMul", ["w", "image"], ["y"], "mix"), w=floats(6, 6))
    mix = find_products(model)[0]
    assert (mix.group, mix.weight, mix.weight_input, mix.axis) == (Group.LINEAR, "w", 0, 0)
    assert mix.activations == ((1, "image"),)


def test_weights_of_three_axes_have_one_scale() -> None:
    model = graph(node("MatMul", ["image", "w"], ["y"], "mix"), w=floats(4, 6, 6))
    assert find_products(model)[0].axis is None


def test_products_of_two_activations_are_attention() -> None:
    model = graph(node("MatMul", ["image", "image"], ["y"], "scores"))
    scores = find_products(model)[0]
    assert (scores.group, scores.weight) == (Group.ATTENTION, "")
    assert scores.activations == ((0, "image"), (1, "image"))


@pytest.mark.parametrize("kind", ["Add", "Softmax", "Gelu", "LayerNormalization", "HardSwish"])
def test_everything_else_is_no_product(kind: str) -> None:
    inputs = {"Add": ["image", "image"], "LayerNormalization": ["image", "ones"]}
    model = graph(
        node(kind, inputs.get(kind, ["image"]), ["y"], "other"), ones=np.ones(6, np.float32)
    )
    assert [product.name for product in find_products(model)] == ["decide"]


def test_what_is_quantized_already_is_left_alone() -> None:
    model = graph(
        node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("Conv", ["d", "w"], ["y"], "conv"),
        w=floats(4, 4, 1, 1),
        s=np.asarray(0.1, np.float32),
        z=np.asarray(0, np.int8),
    )
    assert [product.name for product in find_products(model)] == ["decide"]


def test_every_output_has_a_last_product() -> None:
    model = make_graph(
        [
            node("Conv", ["image", "w"], ["a"], "first"),
            node("Conv", ["a", "w"], ["b"], "one"),
            node("Relu", ["b"], ["logits"]),
            node("Conv", ["a", "w"], ["other"], "two"),
        ],
        Value("image", IMAGE),
        [Value("logits", IMAGE), Value("other", IMAGE)],
        {"w": floats(4, 4, 1, 1)},
    )
    groups = {product.name: product.group for product in find_products(model)}
    assert groups == {
        "first": Group.POINTWISE,
        "one": Group.CLASSIFIER,
        "two": Group.CLASSIFIER,
    }


def two_convolutions() -> ModelProto:
    return graph(
        node("Conv", ["image", "w"], ["a"], "one"),
        node("Conv", ["a", "w"], ["b"], "two"),
        w=floats(4, 4, 1, 1),
    )


def test_the_last_is_left_out_by_default() -> None:
    chosen = choose_products(find_products(two_convolutions()), DEFAULT_GROUPS)
    assert [product.name for product in chosen] == ["one", "two"]
    everything = choose_products(find_products(two_convolutions()), tuple(Group))
    assert [product.name for product in everything] == ["one", "two", "decide"]


def test_names_are_kept_in_float() -> None:
    products = find_products(two_convolutions())
    (left,) = choose_products(products, DEFAULT_GROUPS, ["one"])
    assert left.name == "two"
    with pytest.raises(UsageError, match="no product named 'three'"):
        choose_products(products, DEFAULT_GROUPS, ["three"])
    with pytest.raises(UsageError, match="nothing is left to quantize"):
        choose_products(products, DEFAULT_GROUPS, ["one", "two"])
