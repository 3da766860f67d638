"""The one face of everything that can run the network."""

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
    """Opens where it is made, runs, closes; a context manager.

    Attributes:
        name: What it is called in reports, such as ``onnxruntime-cpu``.
        device: ``cpu`` or ``cuda``.
        settings: What speed depends on, such as threads and providers, for reports.
    """

    name: str
    device: str
    settings: dict[str, Any]

    def run(self, inputs: Inputs) -> Outputs:
        """One batch through the network.

        Args:
            inputs: Input name to array, of the shapes and types of the signature.

        Returns:
            Output name to host array.

        Raises:
            RunnerError: Closed, or the inputs do not fit the signature.
        """

    def close(self) -> None:
        """Give everything back; closing twice is harmless."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True)
class NodeTime:
    """What one node of a graph, or layer of a plan, takes.

    Attributes:
        name: As its runtime calls it; what it fused may have other names in the graph.
        operator: Its type, such as ``Conv``; empty where the runtime tells none.
        time_ms: Of a run, on average.
    """

    name: str
    operator: str
    time_ms: float


class Profiling(Runner, Protocol):
    """A runner that was opened to tell where its time goes; it is slower for that."""

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run so often, and tell what each node took, in the order they run.

        Raises:
            RunnerError: As :meth:`run`, or it was not opened to be profiled.
        """


class Closing:
    """The context manager half of a runner."""

    def close(self) -> None:
        """Give everything back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
