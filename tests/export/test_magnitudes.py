"""The largest magnitudes are those NumPy finds."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from support.graph_making import Value, floats, make_graph
from support.watching import Counting

from hrvit_deploy.export.magnitudes import measure
from hrvit_deploy.graphs import NEWEST_OPSET
from hrvit_deploy.progress import SilentProgress

node = helper.make_node
WEIGHT = floats(4, 2, seed=1)


def network(opset: int = 20) -> ModelProto:
    """Products and movements, a split into a large and a small half, and an index."""
    return make_graph(
        [
            node("Transpose", ["image"], ["turned"], "turn", perm=[0, 2, 1]),
            node("MatMul", ["turned", "weight"], ["mixed"], "matmul"),
            node("Reshape", ["mixed", "flat"], ["row"], "reshape"),
            node("Split", ["row"], ["left", "right"], "split", axis=1, num_outputs=2),
            node("Exp", ["left"], ["grown"], "exp"),
            node("Concat", ["grown", "right"], ["both"], "concat", axis=1),
            node("ArgMax", ["both"], ["index"], "argmax", axis=1),
            node("Relu", ["both"], ["logits"], "relu"),
        ],
        Value("image", ("batch", 4, 3)),
        [Value("logits", ("batch", 6)), Value("index", ("batch", 1), TensorProto.INT64)],
        {"weight": WEIGHT, "flat": np.array([-1, 6])},
        opset,
    )


def largest(images: list[NDArray[np.float32]]) -> dict[str, float]:
    """The same by hand."""
    image = np.concatenate(images)
    row = (image.transpose(0, 2, 1) @ WEIGHT).reshape(-1, 6)
    grown = np.exp(row[:, :3])
    mixed = float(np.abs(row).max())
    both = max(float(grown.max()), mixed)
    return {
        "image": float(np.abs(image).max()),
        "turned": float(np.abs(image).max()),
        "mixed": mixed,
        "row": mixed,
        "left": mixed,
        "right": mixed,
        "grown": float(grown.max()),
        "both": both,
        "logits": float(np.maximum(np.concatenate([grown, row[:, 3:]], 1), 0).max()),
    }


@pytest.mark.parametrize("opset", [18, 20, NEWEST_OPSET])
def test_magnitudes_are_the_maxima_over_all_images(opset: int) -> None:
    # The largest lies now in one batch, now in the other, and may be negative.
    images = [floats(2, 4, 3), -3 * floats(1, 4, 3, seed=2)]

    measured = measure(network(opset), iter(images), SilentProgress())

    assert measured == pytest.approx(largest(images), rel=1e-5)


def test_the_graph_is_left_as_it_was() -> None:
    model = network()
    before = model.SerializeToString()

    measure(model, [floats(1, 4, 3)], SilentProgress())

    assert model.SerializeToString() == before


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 37, 999])
def test_what_is_no_number_is_infinite(broken: float, place: int) -> None:
    model = make_graph(
        [
            node("Mul", ["image", "image"], ["squared"], "square"),
            node("Sub", ["squared", "image"], ["logits"], "sub"),
        ],
        Value("image", (1, 1000)),
        [Value("logits", (1, 1000))],
    )
    image = floats(1, 1000)
    image[0, place] = broken

    measured = measure(model, [floats(1, 1000), image, floats(1, 1000)], SilentProgress())

    assert measured["squared"] == np.inf
    assert measured["logits"] == np.inf


def test_uint8_images_are_measured() -> None:
    model = make_graph(
        [
            node("Cast", ["image"], ["pixels"], "cast", to=int(TensorProto.FLOAT)),
            node("Sub", ["pixels", "mean"], ["logits"], "shift"),
        ],
        Value("image", (1, 3), int(TensorProto.UINT8)),
        [Value("logits", (1, 3))],
        {"mean": np.array(100, np.float32)},
    )

    measured = measure(model, [np.array([[3, 150, 128]], np.uint8)], SilentProgress())

    assert measured == {"image": 150, "pixels": 150, "logits": 97}


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np, onnx
from hrvit_deploy.export.magnitudes import measure
from hrvit_deploy.progress import SilentProgress
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
model = onnx.load(sys.argv[1])
image = np.ones((1, 1 << 21), np.float32)
before = peak()
measure(model, [image], SilentProgress())
print(peak() - before)
"""


def test_activations_are_not_held_until_all_are_measured(tmp_path: Path) -> None:
    count, mebibytes = 40, 8
    names = ["image", *(f"sum{index}" for index in range(count))]
    steps = [
        step
        for before, after in pairwise(names)
        for step in (
            node("Tanh", [before], [f"of {before}"], f"{before}/tanh"),
            node("Add", [before, f"of {before}"], [after], f"{after}/add"),
        )
    ]
    steps.append(node("Relu", [names[-1]], ["logits"], "relu"))
    shape = (1, mebibytes << 18)
    model = make_graph(steps, Value("image", shape), [Value("logits", shape)])
    path = tmp_path / "deep.onnx"
    onnx.save(model, path)

    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True
    )

    # A few are needed at once; all of them are more than twice as much.
    assert int(done.stdout) < count * mebibytes


def test_every_image_is_counted() -> None:
    watcher = Counting()
    measure(network(), [floats(1, 4, 3)] * 3, watcher)
    assert (watcher.total, watcher.steps, watcher.finished) == (3, 3, 1)
