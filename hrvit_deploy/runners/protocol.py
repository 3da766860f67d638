"""The interface of everything that can run the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from numpy.typing import NDArray

# Host arrays, or anything with ``__cuda_array_interface__`` where a runner takes it.
Inputs = Mapping[str, Any]
Outputs = dict[str, NDArray[Any]]


class Runner(Protocol):
    """A context manager that runs the network; its constructor opens it.

    Attributes:
        name: Its name in reports, such as ``onnxruntime-cpu``.
        device: ``cpu`` or ``cuda``.
        settings: The settings its speed depends on, such as threads and providers, for
            reports.
    """

    name: str
    device: str
    settings: dict[str, Any]

    def run(self, inputs: Inputs) -> Outputs:
        """Run one batch through the network.

        Args:
            inputs: Input name to array, of the shapes and types of the signature.

        Returns:
            Output name to host array.

        Raises:
            RunnerError: The runner is closed, or the inputs do not fit the signature.
        """

    def close(self) -> None:
        """Free all resources; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True)
class NodeTime:
    """The time that one node of a graph, or one layer of a plan, takes.

    Attributes:
        name: Its name in the runtime; the nodes it was fused from may have other names in the
            graph.
        operator: Its type, such as ``Conv``; empty where the runtime reports none.
        time_ms: Its mean time in one run, in milliseconds.
    """

    name: str
    operator: str
    time_ms: float


class Profiling(Runner, Protocol):
    """A runner that times its nodes, which makes it slower."""

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run ``runs`` times and return the mean time of each node, in the order they run.

        Raises:
            RunnerError: As for :meth:`run`, or the runner was opened without profiling.
        """


class Closing:
    """The context manager methods of a runner, as a base class."""

    def close(self) -> None:
        """Free all resources."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
