"""HardSwish in two operators is HardSwish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from support.graph_making import Value, make_graph, run_graph

from hrvit_deploy.export.hard_swish import split_hard_swish

node = helper.make_node


def network(first: str = "first") -> ModelProto:
    return make_graph(
        [
            node("HardSwish", ["image"], ["gated"], first),
            node("Mul", ["gated", "ten"], ["scaled"], "scale"),
            node("HardSwish", ["scaled"], ["logits"], "second"),
        ],
        Value("image", (1, 4001)),
        [Value("logits", (1, 4001))],
        {"ten": np.array(10, np.float32)},
    )


@pytest.mark.parametrize("name", ["first", ""])
def test_the_parts_compute_the_same(tmp_path: Path, name: str) -> None:
    model = network(name)
    before = model.SerializeToString()

    split = split_hard_swish(model)

    onnx.checker.check_model(split, full_check=True)
    assert model.SerializeToString() == before
    operators = [n.op_type for n in split.graph.node]
    assert operators == ["HardSigmoid", "Mul", "Mul", "HardSigmoid", "Mul"]
    # Both of its corners, the whole slope, and far beyond.
    image = np.linspace(-10, 10, 4001, dtype=np.float32)[None]
    image[0, :2] = -1e30, 1e30
    expected = run_graph(model, tmp_path, image=image)["logits"]
    np.testing.assert_allclose(
        run_graph(split, tmp_path, image=image)["logits"], expected, rtol=1e-6, atol=1e-6
    )


def test_every_part_has_a_name_of_its_own() -> None:
    names = [n.name for n in split_hard_swish(network("")).graph.node]

    assert all(names)
    assert len(set(names)) == len(names)


def test_a_graph_without_it_is_unchanged() -> None:
    model = make_graph(
        [node("Relu", ["image"], ["logits"], "relu")],
        Value("image", (1, 2)),
        [Value("logits", (1, 2))],
    )

    assert split_hard_swish(model) == model
