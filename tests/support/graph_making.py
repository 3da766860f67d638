"""Graphs small enough to follow by hand, and a network that exports in no time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from hrvit_deploy.artefact import Network, Preparation, Weights
from hrvit_deploy.deploy.form import InferenceForm
from hrvit_deploy.deploy.signature import Signed
from hrvit_deploy.export.stage import Subject
from hrvit_deploy.options import ExportOptions, ImageSize, InputFormat, Task
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner
from support.networks import CLASSES, TINY

FLOAT = int(TensorProto.FLOAT)
SIZE = ImageSize(64, 96)
# Floating values by name, as onnx sees them.
Arrays = dict[str, NDArray[Any]]
Shape = Sequence[int | str]


class Value(NamedTuple):
    """An input or output of a graph."""

    name: str
    shape: Shape
    type: int = FLOAT


def make_graph(
    nodes: Sequence[NodeProto],
    taken: Value,
    returned: Sequence[Value],
    weights: Arrays | None = None,
    opset: int = 20,
) -> ModelProto:
    """A checked graph of those nodes."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(taken.name, taken.type, taken.shape)],
        [helper.make_tensor_value_info(v.name, v.type, v.shape) for v in returned],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run_graph(model: ModelProto | Path, folder: Path, **inputs: NDArray[Any]) -> Arrays:
    """What onnxruntime makes of those inputs, without rewriting the graph first."""
    path = folder / "run.onnx"
    if isinstance(model, ModelProto):
        onnx.save(model, path)
    else:
        path = model
    with OnnxRuntimeRunner(path, threads=1, optimize=False) as runner:
        return runner.run(inputs)


def types_of(model: ModelProto) -> dict[str, int]:
    """The element type of every tensor of a graph."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    infos = (*inferred.value_info, *inferred.input, *inferred.output)
    return {i.name: i.type.tensor_type.elem_type for i in infos} | {
        w.name: w.data_type for w in inferred.initializer
    }


def floats(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Sketch(nn.Module):
    """A network with the operators that precision cares about, and few of each."""

    def __init__(self, task: Task = Task.SEGMENT) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.task = task
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, CLASSES)

    def scores(self, image: Tensor) -> Tensor:
        features: Tensor = F.hardswish(self.conv(image))
        tokens = self.linear(self.norm(features.permute(0, 2, 3, 1)))
        scores: Tensor = tokens.permute(0, 3, 1, 2)
        return scores

    def forward(self, image: Tensor) -> Tensor:
        if self.task is Task.CLASSIFY:
            return self.scores(image).mean((2, 3))
        return F.interpolate(self.scores(image), size=tuple(SIZE), mode="bilinear")


def subject(network: Any, task: Task, options: ExportOptions) -> Subject:
    """What the export stage takes, of a network in its inference form."""
    return Subject(
        InferenceForm(network, options.size, {"rounded-corners": 2, "idle": 0}),
        Network(TINY, task, CLASSES, Weights.RANDOM),
        Preparation(options.size, options.input_format),
    )


def photograph(options: ExportOptions, batch: int = 1, seed: int = 0) -> NDArray[Any]:
    """Noise as the graph takes it."""
    if options.input_format is InputFormat.UINT8_NHWC:
        random = np.random.default_rng(seed)
        return random.integers(0, 256, (batch, *options.size, 3), np.uint8)
    return floats(batch, 3, *options.size, seed=seed)


def eager(network: Any, options: ExportOptions, image: NDArray[Any]) -> NDArray[Any]:
    """The answer of the network itself, in the formats asked for."""
    preparation = Preparation(options.size, options.input_format)
    signed = Signed(network, preparation, options.output_format).eval()
    with torch.no_grad():
        answer: NDArray[Any] = signed(torch.from_numpy(image)).numpy()
    return answer
