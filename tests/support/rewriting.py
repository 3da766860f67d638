"""What the tests of every rewrite do: apply some, compare, trace, count."""

from __future__ import annotations

import tempfile
from functools import cache

import onnx
import torch
from torch import Tensor, nn

from hrvit_deploy.deploy.form import REWRITES, InferenceForm, deploy
from hrvit_deploy.model.network import Network
from hrvit_deploy.options import ImageSize, Task
from support.networks import answer, distance, noise, tiny

# Rewrites change the order of float operations, and no more.
TOLERANCE = 2e-5
NAMES = tuple(rewrite.name for rewrite in REWRITES)
BLOCKS = 17  # of the tiny variant


def only(*names: str) -> tuple[str, ...]:
    """All the other rewrites, to leave out."""
    return tuple(name for name in NAMES if name not in names)


def formed(task: Task, size: ImageSize, *names: str) -> InferenceForm[Network]:
    """The tiny network with those rewrites and no others, whatever they come after."""
    return deploy(tiny(task), size, tuple(r for r in REWRITES if r.name in names))


@cache
def trained_answer(task: Task, size: ImageSize, batch: int = 2) -> Tensor:
    """What the tiny network answers to :func:`networks.noise`."""
    return answer(tiny(task), noise(size, batch))


def error_of(form: InferenceForm[Network], task: Task, batch: int = 2) -> float:
    """How far the form's answer lies from the trained network's."""
    return distance(
        answer(form.network, noise(form.size, batch)), trained_answer(task, form.size, batch)
    )


def modules_of(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    """Every submodule of that kind."""
    return [module for module in network.modules() if isinstance(module, kind)]


def traced(module: nn.Module, *inputs: Tensor) -> onnx.ModelProto:
    """A part of the network as a graph, its first axis dynamic."""
    names = [f"input{index}" for index in range(len(inputs))]
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(
            module,
            inputs,
            file.name,
            dynamo=False,
            opset_version=20,
            input_names=names,
            output_names=["output"],
            dynamic_axes={name: {0: "batch"} for name in (*names, "output")},
        )
        return onnx.load(file.name)


def operators(model: onnx.ModelProto) -> list[str]:
    """Types of the nodes that act on data: what constants alone feed is left out."""
    constant = {weight.name for weight in model.graph.initializer}
    kinds = []
    for node in model.graph.node:
        if all(name in constant for name in node.input if name):
            constant.update(node.output)
        else:
            kinds.append(node.op_type)
    return kinds
