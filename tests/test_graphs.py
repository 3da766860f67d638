"""ONNX files are written whole, read back right, and checked in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support.graph_making import Value, floats, make_graph, run_graph

from hrvit_deploy import graphs
from hrvit_deploy.errors import ExportError
from hrvit_deploy.options import ONNXRUNTIME_OPSET

node = helper.make_node
MATRIX, BIAS = floats(32, 32), floats(32, seed=1)


def network(opset: int = 20) -> ModelProto:
    return make_graph(
        [
            node("MatMul", ["image", "matrix"], ["mixed"], "matmul"),
            node("Add", ["mixed", "bias"], ["moved"], "add"),
            node("HardSwish", ["moved"], ["logits"], "swish"),
        ],
        Value("image", ("batch", 32)),
        [Value("logits", ("batch", 32))],
        {"matrix": MATRIX, "bias": BIAS},
        opset,
    )


def test_constant_nodes_become_initializers(tmp_path: Path) -> None:
    constants = [
        node("Constant", [], [name], name, value=numpy_helper.from_array(values))
        for name, values in (("matrix", MATRIX), ("bias", BIAS))
    ]
    model = network()
    image = floats(3, 32, seed=2)
    expected = run_graph(model, tmp_path, image=image)["logits"]
    del model.graph.initializer[:]
    for constant in (*constants, node("Constant", [], ["one"], "one", value_float=1.0)):
        model.graph.node.insert(0, constant)

    lifted = graphs.lift_constants(model)

    kept = [node.op_type for node in lifted.graph.node]
    assert kept == ["Constant", "MatMul", "Add", "HardSwish"]
    assert {weight.name for weight in lifted.graph.initializer} == {"matrix", "bias"}
    actual = run_graph(lifted, tmp_path, image=image)["logits"]
    np.testing.assert_array_equal(actual, expected)


def test_a_small_graph_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"

    graphs.write_graph(network(), path)

    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert graphs.external_files(path) == []
    assert onnx.load(path) == network()


@pytest.mark.parametrize("spare", [0, 1])
def test_weights_leave_a_graph_over_the_limit(tmp_path: Path, spare: int) -> None:
    path = tmp_path / "net.onnx"
    limit = network().ByteSize() - 1 + spare

    graphs.write_graph(network(), path, limit=limit)

    assert bool(graphs.external_files(path)) == (not spare)


def test_a_large_graph_keeps_its_weights_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"

    graphs.write_graph(network(), path, limit=100)

    (data,) = graphs.external_files(path)
    assert data.name == graphs.external_name(path) == "net.onnx.data"
    assert data.stat().st_size >= MATRIX.nbytes
    alone = {w.name: w for w in onnx.load(path, load_external_data=False).graph.initializer}
    assert alone["matrix"].data_location == TensorProto.EXTERNAL
    # Small ones stay, where readers look for shapes and axes.
    assert alone["bias"].data_location == TensorProto.DEFAULT
    assert path.stat().st_size < MATRIX.nbytes
    graphs.check_graph(path)
    image = floats(3, 32, seed=2)
    np.testing.assert_array_equal(
        run_graph(path, tmp_path, image=image)["logits"],
        run_graph(network(), tmp_path, image=image)["logits"],
    )


def test_a_large_graph_without_its_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    graphs.write_graph(network(), path, limit=100)
    (tmp_path / "net.onnx.data").unlink()

    with pytest.raises(ExportError) as caught:
        graphs.check_graph(path)

    assert "net.onnx" in caught.value.message


def _drop_shape(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 31


def _drop_input(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "nothing"


def _rename(model: ModelProto) -> None:
    model.graph.node[1].op_type = "Addd"


def _retype(model: ModelProto) -> None:
    model.graph.initializer[1].data_type = TensorProto.INT32


def _reverse(model: ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


@pytest.mark.parametrize("harm", [_drop_shape, _drop_input, _rename, _retype, _reverse])
def test_an_invalid_graph_is_refused_in_one_line(tmp_path: Path, harm: object) -> None:
    assert callable(harm)
    path, model = tmp_path / "net.onnx", network()
    graphs.write_graph(model, path)
    graphs.check_graph(path)
    harm(model)
    graphs.write_graph(model, path)

    with pytest.raises(ExportError) as caught:
        graphs.check_graph(path)

    assert "net.onnx invalid" in caught.value.message
    assert "\n" not in caught.value.message
    assert "--no-simplify" in caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"not a graph at all"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ExportError) as caught:
        graphs.check_graph(path)

    assert "net.onnx invalid" in caught.value.message
    assert "\n" not in caught.value.message


def test_every_node_gets_a_name_of_its_own() -> None:
    model = network()
    # One without, one taken, and one whose made-up name another node bears already.
    model.graph.node[0].name = ""
    model.graph.node[1].name = "swish"
    model.graph.node[2].name = "MatMul_0"
    model.graph.node.append(node("Relu", ["logits"], ["relu"], "swish"))

    names = [n.name for n in graphs.name_nodes(model).graph.node]

    assert len(set(names)) == 4
    assert all(names)
    assert names[1] == "swish"


def test_a_made_up_name_is_nobody_elses() -> None:
    # Whether its bearer stands before or after.
    for bearer, nameless in ((0, 2), (2, 0)):
        model = network()
        operator = model.graph.node[nameless].op_type
        model.graph.node[bearer].name = f"{operator}_{nameless}"
        model.graph.node[nameless].name = ""

        names = [n.name for n in graphs.name_nodes(model).graph.node]

        assert len(set(names)) == 3
        assert names[bearer] == f"{operator}_{nameless}"


def test_names_that_are_there_are_kept() -> None:
    names = [n.name for n in graphs.name_nodes(network()).graph.node]
    assert names == ["matmul", "add", "swish"]


def test_a_nameless_node_is_called_after_the_module_whose_parameter_it_has() -> None:
    model = network()
    for used in model.graph.node[:2]:
        used.name = ""
    renamed = {model.graph.node[0].input[1]: "head.fc.weight"}
    renamed[model.graph.node[1].input[1]] = "head.fc.bias"
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for used in model.graph.node[:2]:
        used.input[1] = renamed[used.input[1]]

    names = [n.name for n in graphs.name_nodes(model).graph.node]

    kinds = [used.op_type for used in model.graph.node[:2]]
    assert names[:2] == [f"/head.fc/{kind}" for kind in kinds]


@pytest.mark.parametrize("opset", [17, 20, 22, 23, graphs.NEWEST_OPSET])
def test_a_graph_moves_to_newer_opsets_and_computes_the_same(
    tmp_path: Path, opset: int
) -> None:
    moved = graphs.set_opset(network(17), opset)

    assert graphs.opset_of(moved) == opset
    onnx.checker.check_model(moved, full_check=True)
    runnable = graphs.runnable(moved)
    assert graphs.opset_of(runnable) == min(opset, ONNXRUNTIME_OPSET)
    image = floats(2, 32, seed=2)
    np.testing.assert_allclose(
        run_graph(runnable, tmp_path, image=image)["logits"],
        run_graph(network(17), tmp_path, image=image)["logits"],
        rtol=1e-6,
        atol=1e-6,
    )


def test_a_graph_in_the_right_opset_is_not_touched() -> None:
    model = network()
    assert graphs.set_opset(model, 20) is model
    assert graphs.runnable(model) is model


def test_an_opset_nobody_knows_is_refused() -> None:
    with pytest.raises(ExportError) as caught:
        graphs.set_opset(network(), graphs.NEWEST_OPSET + 1)

    assert f"from opset 20 to {graphs.NEWEST_OPSET + 1}" in caught.value.message
    assert "\n" not in caught.value.message
    assert "--opset" in caught.value.hint


def test_the_opset_is_that_of_the_default_domain() -> None:
    model = network()
    model.opset_import.insert(0, helper.make_opsetid("com.microsoft", 1))
    assert graphs.opset_of(model) == 20
    model.opset_import[1].domain = "ai.onnx"
    assert graphs.opset_of(model) == 20
    del model.opset_import[:]
    assert graphs.opset_of(model) == 0


def test_nodes_are_counted_by_operator() -> None:
    model = network()
    model.graph.node.append(node("Add", ["logits", "bias"], ["more"], "more"))
    assert list(graphs.count_nodes(model).items()) == [
        ("Add", 2),
        ("MatMul", 1),
        ("HardSwish", 1),
    ]


def test_weights_beside_a_graph_may_be_read_by_whoever_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    graphs.write_graph(network(), path, limit=100)
    (data,) = graphs.external_files(path)
    assert data.stat().st_mode == path.stat().st_mode


def test_size_decides_what_is_large() -> None:
    size = network().ByteSize()
    assert graphs.is_large(network(), size - 1)
    assert not graphs.is_large(network(), size)
    assert not graphs.is_large(network())


def test_a_large_graph_keeps_its_opset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "is_large", lambda _: True)
    assert graphs.opset_of(graphs.set_opset(network(), 20)) == 20
    with pytest.raises(ExportError) as caught:
        graphs.set_opset(network(), 22)
    assert "is over 2 GB" in caught.value.message
    assert caught.value.hint == "take --opset 20"


@pytest.mark.slow
def test_a_graph_over_2_gb_is_written_checked_and_runs(tmp_path: Path) -> None:
    # Nine weights of a quarter of a gigabyte, which protocol buffers cannot hold.
    path, rows = tmp_path / "net.onnx", 1 << 23
    names = [f"w{index}" for index in range(9)]
    picked = [node("Gather", [name, "index"], [f"{name}:row"]) for name in names]
    model = make_graph(
        [
            *picked,
            node("Sum", [f"{name}:row" for name in names], ["sum"]),
            node("Add", ["sum", "image"], ["logits"]),
        ],
        Value("image", (1, 8)),
        [Value("logits", (1, 8))],
        {name: np.zeros((1, 8), np.float32) for name in names} | {"index": np.array([-1])},
    )
    for number, weight in enumerate(model.graph.initializer[:9]):
        values = np.zeros((rows, 8), np.float32)
        values[-1] = number
        weight.dims[:] = values.shape
        weight.raw_data = values.tobytes()
    assert graphs.is_large(model)

    graphs.write_graph(model, path)
    del model

    try:
        (data,) = graphs.external_files(path)
        assert data.stat().st_size > 1 << 31
        graphs.check_graph(path)
        image = floats(1, 8)
        answer = run_graph(path, tmp_path, image=image)["logits"]
        np.testing.assert_allclose(answer, image + sum(range(9)), atol=1e-5)
    finally:
        # Not to be kept with the other remains of a test run.
        path.with_name(graphs.external_name(path)).unlink()
