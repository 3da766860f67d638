"""Where the time of a run goes: by type of operator, and the slowest nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from hrvit_deploy.errors import UsageError
from hrvit_deploy.inference.open import open_for_timing
from hrvit_deploy.runners.protocol import NodeTime, Profiling
from hrvit_deploy.runners.spec import RunnerSpec

SLOWEST = 10
UNTYPED = "layers"


@dataclass(frozen=True)
class OperatorTime:
    """All nodes of one type.

    Attributes:
        time_ms: Of a run, on average.
        share: Of what all nodes take.
    """

    operator: str
    nodes: int
    time_ms: float
    share: float


@dataclass(frozen=True)
class Profile:
    """One candidate's time.

    Attributes:
        name: The candidate's.
        runner: What ran it, such as ``onnxruntime-cpu``.
        nodes_ms: Sum over all nodes, of a run on average; being timed one by one slows them.
        operators: The most expensive type first.
        slowest: The slowest nodes, in that order.
    """

    name: str
    runner: str
    nodes_ms: float
    operators: tuple[OperatorTime, ...]
    slowest: tuple[NodeTime, ...]


def profile(spec: RunnerSpec, *, warmup: int = 5, runs: int = 20) -> Profile:
    """Open a graph or plan, run it, and see where its time goes.

    Args:
        spec: Of a graph or a plan.
        warmup: Runs that do not count.
        runs: Runs that do.

    Raises:
        HrvitDeployError: Whatever :func:`hrvit_deploy.runners.open.open_runner` raises.
        UsageError: It runs in PyTorch.
    """
    if spec.in_torch:
        raise UsageError(f"{spec.name} has no nodes to profile", "profile a graph or a plan")
    opened, inputs = open_for_timing(spec, profiled=True)
    with opened as runner:
        for _ in range(warmup):
            runner.run(inputs)
        times = cast("Profiling", runner).node_times(inputs, runs)
        return summarize(spec.name, runner.name, times)


def summarize(name: str, runner: str, times: Sequence[NodeTime]) -> Profile:
    """Sum node times by type, and find the slowest nodes."""
    total_ms = sum(node.time_ms for node in times)
    kinds: dict[str, list[float]] = defaultdict(list)
    for node in times:
        kinds[node.operator or UNTYPED].append(node.time_ms)
    operators = [
        OperatorTime(kind, len(each), sum(each), sum(each) / total_ms if total_ms else 0.0)
        for kind, each in kinds.items()
    ]
    operators.sort(key=lambda operator: -operator.time_ms)
    slowest = sorted(times, key=lambda node: -node.time_ms)[:SLOWEST]
    return Profile(name, runner, total_ms, tuple(operators), tuple(slowest))
