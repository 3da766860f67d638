"""Graphs from outside that could harm, hang or mislead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support.foreign_graph import foreign

from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.foreign.read import external_names, read_graph


def save(folder: Path, model: ModelProto, name: str = "net.onnx") -> Path:
    path = folder / name
    onnx.save(model, path)
    return path


def external(folder: Path, location: str) -> Path:
    """A graph that says its first weight lies in that file."""
    model = foreign(quantized=False)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return save(folder, model)


def test_a_graph_is_read(tmp_path: Path) -> None:
    assert len(read_graph(save(tmp_path, foreign())).graph.node) == 10


def test_weights_beside_a_graph_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(
        foreign(quantized=False),
        path,
        save_as_external_data=True,
        location="of_another.bin",
        size_threshold=0,
    )
    assert external_names(read_graph(path)) == ["of_another.bin"]


@pytest.mark.parametrize(
    "location", ["", "..", "../weights", "/etc/passwd", "sub/weights", "..\\weights", "."]
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path.parent / "weights").write_bytes(bytes(400_000))
    with pytest.raises(ArtefactError, match="no file beside it"):
        read_graph(external(tmp_path, location))


def test_weights_behind_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").symlink_to("/etc/passwd")
    with pytest.raises(ArtefactError, match="leads elsewhere"):
        read_graph(external(tmp_path, "weights"))


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no .*weights\.bin, which holds weights"):
        read_graph(external(tmp_path, "weights.bin"))


def custom(model: ModelProto) -> None:
    model.graph.node[0].op_type, model.graph.node[0].domain = "Steal", "evil"


def loop(model: ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", "w"], ["endless"], body=body))


def loop_in_a_branch(model: ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Scan", ["c"], ["d"])], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["w"], ["e"], then_branch=inner))


def huge_weight(model: ModelProto) -> None:
    model.graph.initializer.add(name="huge", data_type=TensorProto.FLOAT, dims=[1 << 40, 8])


def huge_activation(model: ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["filled"]))


def broken(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "nobody"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (custom, "operator Steal of 'evil'"),
        (loop, "has a Loop"),
        (loop_in_a_branch, "has a Scan"),
        (huge_weight, "no memory"),
        (huge_activation, "no memory"),
        (broken, "onnx finds"),
    ],
)
def test_a_harmful_graph_is_refused(
    tmp_path: Path, harm: Callable[[ModelProto], None], words: str
) -> None:
    model = foreign(quantized=False)
    harm(model)
    with pytest.raises(ArtefactError, match=words) as refused:
        read_graph(save(tmp_path, model))
    assert "\n" not in refused.value.message + refused.value.hint
    assert refused.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "LFS pointer"),
        (b"not a graph at all", "truncated"),
        (b"PK\x03\x04", "truncated"),
    ],
)
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=words):
        read_graph(path)


def test_a_truncated_graph_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, foreign())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtefactError, match=r"truncated|onnx finds"):
        read_graph(path)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, foreign())
    path.write_bytes(path.read_bytes().replace(b"scores", b"s\xf6\xff\xfees"))
    with pytest.raises(ArtefactError, match=r"no text|truncated"):
        read_graph(path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no \.onnx"):
        read_graph(tmp_path / "net.pt")


def blocked(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft.nchwc"


def later_ir(model: ModelProto) -> None:
    model.ir_version = onnx.IR_VERSION + 1


def later_opset(model: ModelProto) -> None:
    model.opset_import[0].version = onnx.defs.onnx_opset_version() + 1


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (blocked, "optimized by onnxruntime for the CPU it was written on", "EXTENDED"),
        (later_ir, r"is of IR version \d+, and onnx .* reads up to", "update onnx"),
        (later_opset, r"is of opset \d+, and onnx .* reads up to", "update onnx"),
    ],
)
def test_graphs_for_another_machine_or_time_are_refused(
    tmp_path: Path, change: Callable[[ModelProto], None], message: str, hint: str
) -> None:
    model = foreign()
    change(model)
    with pytest.raises(ArtefactError, match=message) as caught:
        read_graph(save(tmp_path, model))
    assert hint in caught.value.hint
