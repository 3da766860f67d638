"""What TensorRT-RTX makes of the plain graph and of ours, where no GPU is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.cases import Case
from benchmarks.common.forms import Form
from benchmarks.cpu.candidates import GRAPHS
from benchmarks.cpu.graphs import TENSORRT, Graphs
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.options import Backend, BuildOptions, Precision
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress, working


@dataclass(frozen=True)
class Build:
    """One build of one graph's engine; None where ``error`` says why.

    Attributes:
        nodes: Of the ONNX graph.
        layers: Of the network after parsing.
        seconds: That the builder took, without parsing.
    """

    task: str
    size: str
    form: str
    round: int
    nodes: int | None = None
    layers: int | None = None
    seconds: float | None = None
    plan_bytes: int | None = None
    version: str = ""
    error: str = ""


def builds(case: Case, rounds: int, done: int, made: Graphs) -> Iterator[Build]:
    """The graphs built in turn, in float32, by the same code.

    Args:
        case: The network.
        rounds: How often each is built.
        done: How many builds there are already.
        made: Its graphs.
    """
    turns = [(number, form) for number in range(rounds) for form in GRAPHS]
    for number, form in turns[done:]:
        with working(made.progress, f"Building {case.name}, {form}, round {number + 1}"):
            yield build_once(case, form, number, made)


def build_once(case: Case, form: Form, number: int, made: Graphs) -> Build:
    about: dict[str, Any] = {
        "task": str(case.task),
        "size": str(case.size),
        "form": str(form),
        "round": number,
    }
    options = BuildOptions(Precision.FP32, Backend.TENSORRT_RTX)
    try:
        graph = made.graph(case, form, TENSORRT)
        with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
            plan = stages.build(graph, options, Path(folder), ImageSource(), SilentProgress())
            size = plan.path.stat().st_size
    except HrvitDeployError as error:
        return Build(**about, error=error.message)
    engine, drawn = plan.manifest.engine, graph.manifest.graph
    assert engine is not None
    assert drawn is not None
    return Build(
        **about,
        nodes=sum(drawn.nodes.values()),
        layers=sum(engine.layers.values()),
        seconds=engine.build_seconds,
        plan_bytes=size,
        version=engine.version,
    )
