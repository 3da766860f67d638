"""Captures runs as CUDA graphs, which launch at once what was queued call by call."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from hrvit_deploy.bindings.cuda_ import Cuda
from hrvit_deploy.errors import RunnerError

# The graphs of one execution context: for its own buffers and a few callers' arrays.
MOST_GRAPHS = 8
ON, OFF = "captured for each shape", "off"


class Capturing:
    """Whether a plan's runs are captured; the first failed capture ends it for good.

    Attributes:
        on: Whether runs are captured.
    """

    def __init__(self, settings: dict[str, Any], *, on: bool) -> None:
        """Start with or without graphs, and keep ``settings["cuda_graphs"]`` up to date."""
        self.on = on
        self._settings = settings
        self._settings["cuda_graphs"] = ON if on else OFF
        self._lock = threading.Lock()

    def give_up(self, error: RunnerError) -> None:
        """Capture no more runs, and warn of the reason once."""
        with self._lock:
            if not self.on:
                return
            self.on = False
        self._settings["cuda_graphs"] = f"{OFF}: {error.message}"
        warnings.warn(
            f"runs go on without CUDA graphs: {error.message}", RuntimeWarning, stacklevel=2
        )


class GraphCache:
    """The graphs of one execution context, by the addresses they read and write.

    The first run with a key is queued only: TensorRT does work then that does not belong into
    a graph, and inputs that never come again need no graph. After the second run with the
    same key, the run is captured, and later runs launch the graph.
    """

    def __init__(self, cuda: Cuda, stream: int, capturing: Capturing) -> None:
        self._cuda, self._stream, self._capturing = cuda, stream, capturing
        # The least recently used first; None for a key that was run once.
        self._graphs: OrderedDict[Hashable, int | None] = OrderedDict()

    def run(self, key: Hashable, queue: Callable[[], None]) -> None:
        """Queue a run on the stream, call by call or as a graph.

        Args:
            key: Everything that changes the queued work, such as addresses.
            queue: Queues the run on the stream.

        Raises:
            RunnerError: The run could not be queued.
        """
        graph = self._graphs.get(key)
        if graph is not None:
            self._cuda.launch(graph, self._stream)
        else:
            queue()
            if not self._capturing.on:
                return
            self._graphs[key] = self._captured(queue) if key in self._graphs else None
        self._graphs.move_to_end(key)
        while len(self._graphs) > MOST_GRAPHS:
            self._forget(self._graphs.popitem(last=False)[1])

    def close(self) -> None:
        """Destroy the graphs."""
        while self._graphs:
            self._forget(self._graphs.popitem()[1])

    def _captured(self, queue: Callable[[], None]) -> int | None:
        try:
            return self._cuda.capture(self._stream, queue)
        except RunnerError as error:
            self._capturing.give_up(error)
            return None

    def _forget(self, graph: int | None) -> None:
        if graph is not None:
            self._cuda.destroy_graph(graph)
