"""Graphs as people have them: plain exports of a network, and copies that a tool rewrote."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import nn

# Of the tiny network; another network's are odd on purpose.
SIZE = (64, 96)
OTHER_SIZE = (50, 70)


def plain_export(network: nn.Module, path: Path, size: tuple[int, int] = SIZE) -> Path:
    """``torch.onnx.export`` with names of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, *size),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["pixels"],
            output_names=["scores"],
        )
    return path


def dynamic_export(network: nn.Module, path: Path) -> Path:
    """The same, with every size but the channels left open."""
    open_sizes = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, *OTHER_SIZE),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["pixels"],
            output_names=["scores"],
            dynamic_axes={"pixels": open_sizes, "scores": open_sizes},
        )
    return path


def with_labels(source: Path, target: Path) -> Path:
    """The same graph with ``argmax(1)`` at its end, as an export of both together has it."""
    model = onnx.load(source)
    (scores,) = model.graph.output
    dims = scores.type.tensor_type.shape.dim
    shape = [dims[axis].dim_value for axis in (0, 2, 3)]
    labels = onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, shape)
    node = onnx.helper.make_node("ArgMax", [scores.name], ["labels"], axis=1, keepdims=0)
    model.graph.node.append(node)
    model.graph.output[0].CopyFrom(labels)
    onnx.save(model, target)
    return target


def rewritten(source: Path, target: Path, level: str = "ORT_ENABLE_BASIC") -> Path:
    """A copy that onnxruntime optimised and saved."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return target


def other_network() -> nn.Module:
    """A little network that is no HRViT, of four classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 4, 1),
    ).eval()
