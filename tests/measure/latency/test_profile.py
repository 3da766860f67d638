"""Profiles name every node once and lose none of the time."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from support import small_artefacts

from hrvit_deploy.errors import RunnerError, UsageError
from hrvit_deploy.inference.open import open_for_timing
from hrvit_deploy.measure.latency.profile import SLOWEST, UNTYPED, profile, summarize
from hrvit_deploy.runners.onnxruntime_ import read_trace
from hrvit_deploy.runners.protocol import NodeTime
from hrvit_deploy.runners.spec import Implementation, Provider, RunnerSpec, RunOptions


def spec(
    folder: Path,
    provider: Provider = Provider.CPU,
    implementation: Implementation = Implementation.ARTEFACT,
) -> RunnerSpec:
    made = small_artefacts.artefact(folder)
    return RunnerSpec(made, RunOptions(provider, implementation, threads=1))


@pytest.mark.parametrize("provider", [Provider.CPU, Provider.OPENVINO])
def test_every_node_of_a_graph_is_timed(tmp_path: Path, provider: Provider) -> None:
    one = spec(tmp_path, provider)

    found = profile(one, warmup=1, runs=3)

    assert found.name == "small"
    assert found.runner.startswith(("onnxruntime-cpu", "openvino-cpu"))
    operators = {node.op_type for node in onnx.load(one.artefact.path).graph.node}
    named = {row.operator for row in found.operators}
    # OpenVINO has names of its own for operators, and nodes for inputs and outputs.
    assert named == operators if provider is Provider.CPU else named
    assert sum(row.time_ms for row in found.operators) == pytest.approx(found.nodes_ms)
    assert sum(row.share for row in found.operators) == pytest.approx(1)
    assert sum(row.nodes for row in found.operators) >= len(found.slowest)
    times = [node.time_ms for node in found.slowest]
    assert times == sorted(times, reverse=True)
    assert min(row.time_ms for row in found.operators) >= 0
    assert found.nodes_ms > 0


@pytest.mark.parametrize("provider", [Provider.CPU, Provider.OPENVINO])
def test_a_runner_not_opened_for_it_tells_no_times(tmp_path: Path, provider: Provider) -> None:
    runner, inputs = open_for_timing(spec(tmp_path, provider))
    with runner, pytest.raises(RunnerError, match="not profiled"):
        runner.node_times(inputs, 1)  # type: ignore[attr-defined]


def test_networks_in_pytorch_have_no_nodes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no nodes"):
        profile(spec(tmp_path, implementation=Implementation.EAGER))


def test_the_time_of_a_type_is_that_of_its_nodes() -> None:
    times = [NodeTime(f"conv{i}", "Conv", 1.0 + i) for i in range(12)]
    times += [NodeTime("add", "Add", 2.0), NodeTime("layer", "", 20.0)]

    found = summarize("b1", "somewhere", times)

    assert found.nodes_ms == 100.0
    assert [(row.operator, row.nodes, row.time_ms) for row in found.operators] == [
        ("Conv", 12, 78.0),
        (UNTYPED, 1, 20.0),
        ("Add", 1, 2.0),
    ]
    assert [row.share for row in found.operators] == [0.78, 0.2, 0.02]
    assert len(found.slowest) == SLOWEST
    assert [node.name for node in found.slowest[:2]] == ["layer", "conv11"]


def test_warm_up_does_not_count(tmp_path: Path) -> None:
    def node(name: str, start: int, duration: int) -> str:
        return (
            f'{{"cat": "Node", "name": "{name}", "ts": {start}, "dur": {duration},'
            ' "args": {"op_name": "Conv"}}'
        )

    def run(start: int) -> str:
        return f'{{"cat": "Session", "name": "model_run", "ts": {start}, "dur": 9}}'

    events = [node("a_kernel_time", 1, 5000), run(0)]
    events += [node("a_kernel_time", 11, 1000), node("a_fence_before", 11, 7), run(10)]
    events += [node("a_kernel_time", 21, 3000), run(20)]
    path = tmp_path / "trace.json"
    path.write_text(f"[{', '.join(events)}]")

    assert read_trace(path, 2) == [NodeTime("a", "Conv", 2.0)]
