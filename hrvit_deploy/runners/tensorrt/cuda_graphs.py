"""Runs captured as CUDA graphs, which launch as a whole what was queued piece by piece."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from hrvit_deploy.bindings.cuda_ import Cuda
from hrvit_deploy.errors import RunnerError

# Of one execution context: its own buffers, and those of a few callers who lend theirs.
MOST_GRAPHS = 8
ON, OFF = "captured for each shape", "off"


class Capturing:
    """Whether a plan's runs are captured: given up for good once one cannot be.

    Attributes:
        on: Whether they are.
    """

    def __init__(self, settings: dict[str, Any], *, on: bool) -> None:
        """Start with graphs or without, and keep ``cuda_graphs`` of the settings true."""
        self.on = on
        self._settings = settings
        self._settings["cuda_graphs"] = ON if on else OFF
        self._lock = threading.Lock()

    def give_up(self, error: RunnerError) -> None:
        """Do without from now on, and tell why, once."""
        with self._lock:
            if not self.on:
                return
            self.on = False
        self._settings["cuda_graphs"] = f"{OFF}: {error.message}"
        warnings.warn(
            f"runs go on without CUDA graphs: {error.message}", RuntimeWarning, stacklevel=2
        )


class GraphCache:
    """The graphs of one execution context, by what they read and write.

    What is run for the first time is only run: TensorRT does work then that does not
    belong into a graph, and inputs that never come again need none. After the second run
    of the same it is captured, and launched from then on.
    """

    def __init__(self, cuda: Cuda, stream: int, capturing: Capturing) -> None:
        self._cuda, self._stream, self._capturing = cuda, stream, capturing
        # The least used first; None where a run was seen once.
        self._graphs: OrderedDict[Hashable, int | None] = OrderedDict()

    def run(self, key: Hashable, queue: Callable[[], None]) -> None:
        """Have the stream do what ``queue`` queues on it.

        Args:
            key: All that changes what is queued, such as addresses.
            queue: Queues the run on the stream.

        Raises:
            RunnerError: It could not be queued.
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
        """Give the graphs back."""
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
