"""How large every activation of a graph grows on real images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    shape_inference,
)

from hrvit_deploy.graphs import MOVES, runnable, write_graph
from hrvit_deploy.progress import Progress, track
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

PREFIX = "largest:"
INFINITY = "largest"


def measure(
    model: ModelProto, images: Iterable[NDArray[Any]], progress: Progress
) -> dict[str, float]:
    """Measure the largest magnitude of every float32 activation over all images.

    The graph itself reduces each activation to one number as soon as it is there, so memory
    does not grow with the number of images or activations.

    Args:
        model: A float32 graph with one input.
        images: Arrays as that input takes them.
        progress: Advanced once an image.

    Returns:
        Tensor name to the largest absolute value seen; infinity for NaN.
    """
    watched, largest = watch(runnable(model))
    name = model.graph.input[0].name
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        path = Path(folder) / "watched.onnx"
        write_graph(watched, path)
        with OnnxRuntimeRunner(path, in_order=True) as runner:
            for image in track(progress, "Measuring activations", images):
                largest[name] = max(largest[name], float(np.abs(image).max()))
                for key, value in runner.run({name: image}).items():
                    tensor = key.removeprefix(PREFIX)
                    largest[tensor] = max(largest[tensor], float(value))
    return spread(model, largest)


def watch(model: ModelProto) -> tuple[ModelProto, dict[str, float]]:
    """Let the graph return the largest magnitudes, and a zero for each of them."""
    floats = float_tensors(model)
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.node[:], watched.graph.output[:]
    watched.graph.initializer.append(
        numpy_helper.from_array(np.array(np.inf, np.float32), INFINITY)
    )
    names = []
    for node in model.graph.node:
        watched.graph.node.append(node)
        if node.op_type in MOVES:
            continue
        for name in floats.intersection(node.output):
            # Right behind the node: what comes first in the file may run first.
            watched.graph.node.extend(_reduction(name))
            watched.graph.output.append(
                helper.make_tensor_value_info(PREFIX + name, TensorProto.FLOAT, ())
            )
            names.append(name)
    return watched, dict.fromkeys((model.graph.input[0].name, *names), 0.0)


def _reduction(name: str) -> list[NodeProto]:
    """Make nodes from a tensor to its largest magnitude, infinity if it holds a NaN."""
    magnitude, broken, clear = (f"{part}:{name}" for part in ("magnitude", "broken", "clear"))
    return [
        helper.make_node("Abs", [name], [magnitude]),
        # A maximum skips NaN.
        helper.make_node("IsNaN", [name], [broken]),
        helper.make_node("Where", [broken, INFINITY, magnitude], [clear]),
        helper.make_node("ReduceMax", [clear], [PREFIX + name], keepdims=0),
    ]


def spread(model: ModelProto, largest: dict[str, float]) -> dict[str, float]:
    """Give the outputs of nodes that only move values the magnitude of their inputs."""
    known = dict(largest)
    for node in model.graph.node:
        if node.op_type in MOVES:
            value = max((known.get(tensor, 0.0) for tensor in node.input), default=0.0)
            known.update(dict.fromkeys(node.output, value))
    return known


def float_tensors(model: ModelProto) -> set[str]:
    """Return the names of all float32 activations, inputs and outputs of a graph."""
    inferred = shape_inference.infer_shapes(model).graph
    return {
        info.name
        for info in (*inferred.value_info, *inferred.input, *inferred.output)
        if info.type.tensor_type.elem_type == TensorProto.FLOAT
    }
