"""Simplifying never makes things worse: what goes wrong there is dropped and named."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from support.graph_making import Arrays, Value, floats, make_graph

from hrvit_deploy.export import simplify as simplifying
from hrvit_deploy.export.simplify import TOLERANCE, compare, simplify

INPUTS = {"image": floats(2, 3)}
WEIGHT = floats(3, 4, seed=1)


def product(weight: NDArray[np.float32] = WEIGHT) -> ModelProto:
    """``logits = image @ weight`` by way of an Identity that could be spared."""
    return make_graph(
        [
            helper.make_node("Identity", ["image"], ["same"]),
            helper.make_node("MatMul", ["same", "weight"], ["logits"]),
        ],
        Value("image", ("batch", 3)),
        [Value("logits", ("batch", 4))],
        {"weight": weight},
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.onnx"
    onnx.save(product(), path)
    return path


def worker(folder: Path, script: str) -> tuple[str, ...]:
    """A worker that runs those lines; ``source`` and ``target`` are its arguments."""
    path = folder / "worker.py"
    path.write_text(f"import os, sys\nsource, target = sys.argv[1:]\n{script}\n")
    return (sys.executable, str(path))


def writes(folder: Path, model: ModelProto) -> tuple[str, ...]:
    """A worker whose answer is that graph, whatever it is given."""
    made = folder / "made.onnx"
    onnx.save(model, made)
    return worker(folder, f"import shutil\nshutil.copy({str(made)!r}, target)")


def test_the_real_worker_spares_what_can_be_spared(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()

    simpler = simplify(source, tmp_path / "simpler.onnx", INPUTS)

    assert simpler.note == ""
    assert simpler.kept
    assert simpler.path == tmp_path / "simpler.onnx"
    assert [node.op_type for node in onnx.load(simpler.path).graph.node] == ["MatMul"]
    assert source.read_bytes() == before


def test_a_right_answer_is_kept(source: Path, tmp_path: Path) -> None:
    nearly = product(WEIGHT * np.float32(1 + 1e-6))

    simpler = simplify(
        source, tmp_path / "out.onnx", INPUTS, worker=writes(tmp_path, nearly), timeout_s=60
    )

    assert simpler.note == ""
    assert simpler.path == tmp_path / "out.onnx"


@pytest.mark.parametrize(
    ("script", "timeout_s", "reason"),
    [
        ("os.kill(os.getpid(), 9)", 60, "crashed with signal 9"),
        ("sys.exit(1)", 60, "failed: 1"),
        ("raise ValueError('cannot fold')", 60, "failed: ValueError: cannot fold"),
        ("print('é', file=sys.stderr); os.write(2, b'\\xff\\n'); sys.exit(3)", 60, "failed"),
        ("import time; time.sleep(60)", 1, "took longer than 1 s"),
        ("pass", 60, "out.onnx"),
        ("open(target, 'wb').write(b'not a graph at all')", 60, "out.onnx"),
        ("open(target, 'wb').write(open(source, 'rb').read()[:-40])", 60, "out.onnx"),
        ("open(target, 'wb').close()", 60, "out.onnx"),
    ],
)
def test_a_worker_that_fails_is_named_and_the_source_kept(
    source: Path, tmp_path: Path, script: str, timeout_s: float, reason: str
) -> None:
    simpler = simplify(
        source,
        tmp_path / "out.onnx",
        INPUTS,
        worker=worker(tmp_path, script),
        timeout_s=timeout_s,
    )

    assert not simpler.kept
    assert simpler.path == source
    assert simpler.note.startswith("onnxsim")
    assert reason in simpler.note
    assert "\n" not in simpler.note


def folded_to_a_batch_of_two() -> ModelProto:
    """Right for the batch it was simplified with, and for no other."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2, 3])
    return make_graph(
        [
            helper.make_node("Constant", [], ["shape"], value=shape),
            helper.make_node("Reshape", ["image", "shape"], ["same"]),
            helper.make_node("MatMul", ["same", "weight"], ["logits"]),
        ],
        Value("image", ("batch", 3)),
        [Value("logits", ("batch", 4))],
        {"weight": WEIGHT},
    )


def graph_of(
    operator: str,
    taken: Value,
    returned: Value,
    second: NDArray[np.float32] | None = None,
    **attributes: Any,
) -> ModelProto:
    weights: Arrays = {} if second is None else {"weight": second}
    node = helper.make_node(operator, [taken.name, *weights], [returned.name], **attributes)
    return make_graph([node], taken, [returned], weights)


IMAGE, LOGITS = Value("image", ("batch", 3)), Value("logits", ("batch", 4))
WRONG = {
    "a changed weight": (product(WEIGHT + np.float32(0.05)), "logits is off by"),
    "not a number": (product(WEIGHT * np.float32(np.nan)), "logits is off by"),
    "a batch folded to two": (folded_to_a_batch_of_two(), "does not run"),
    "a fixed batch": (
        graph_of("MatMul", Value("image", (2, 3)), Value("logits", (2, 4)), WEIGHT),
        "takes image float32 2x3, not image float32 batchx3",
    ),
    "an input by another name": (
        graph_of("MatMul", IMAGE._replace(name="picture"), LOGITS, WEIGHT),
        "takes picture",
    ),
    "an output by another name": (
        graph_of("MatMul", IMAGE, Value("answer", ("batch", 4)), WEIGHT),
        "returns answer",
    ),
    "another type": (
        graph_of("Cast", IMAGE, Value("logits", ("batch", 3), TensorProto.DOUBLE), to=11),
        "logits is float64 of shape (2, 3), not float32 of (2, 4)",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_graph_is_named_and_the_source_kept(
    source: Path, tmp_path: Path, what: str
) -> None:
    model, reason = WRONG[what]

    simpler = simplify(
        source, tmp_path / "out.onnx", INPUTS, worker=writes(tmp_path, model), timeout_s=60
    )

    assert simpler.path == source
    assert simpler.note.startswith("onnxsim's")
    assert reason in simpler.note


def test_an_invalid_graph_is_named_and_the_source_kept(source: Path, tmp_path: Path) -> None:
    model = product()
    model.graph.node[1].op_type = "NoSuchOperator"

    simpler = simplify(
        source, tmp_path / "out.onnx", INPUTS, worker=writes(tmp_path, model), timeout_s=60
    )

    assert simpler.path == source
    assert "NoSuchOperator" in simpler.note


@pytest.mark.parametrize("off", [0, 10])
def test_class_indices_may_differ_at_a_tie_and_no_more(off: int) -> None:
    expected = np.zeros((1, 50, 200), np.uint8)
    actual = expected.copy()
    actual[0, 0, : off * 2] = 1
    assert 10 * 2 / expected.size > TOLERANCE

    fault = compare({"classmap": expected}, {"classmap": actual})

    assert bool(fault) == bool(off)


def test_an_answer_that_never_varies_is_compared_in_full() -> None:
    still = np.full((1, 4), 7, np.float32)

    assert compare({"logits": still}, {"logits": still}) == ""
    assert "off by" in compare({"logits": still}, {"logits": still + 1})


def test_the_worker_folder_cannot_pass_itself_off_as_a_module(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxsim.py").write_text("raise SystemExit('taken in')")
    shutil.copy(tmp_path / "onnxsim.py", tmp_path / "hrvit_deploy.py")
    monkeypatch.chdir(tmp_path)

    assert simplify(source, tmp_path / "out.onnx", INPUTS).note == ""


@pytest.mark.parametrize("chunk", [7, 100, 1 << 20])
def test_errors_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(simplifying, "CHUNK", chunk)
    expected = 3 + floats(5, 20, seed=2)
    actual = expected + floats(5, 20, seed=3) / 100

    error = simplifying.relative_error(actual, expected)

    assert error == pytest.approx(np.abs(actual - expected).max() / expected.std(), rel=1e-5)
    actual[2, 3] = np.nan
    assert np.isnan(simplifying.relative_error(actual, expected))
    assert simplifying.relative_error(np.ones(4), np.zeros(4)) == 1
