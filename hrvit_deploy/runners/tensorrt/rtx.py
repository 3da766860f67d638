"""How TensorRT for RTX runs a plan: it compiles kernels and captures graphs by itself."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class RtxContexts:
    """Makes execution contexts of an engine, which share the kernels compiled for one.

    The library compiles kernels for a shape at its first runs, and knows when a graph of
    them can be captured; captures from outside would need a plan built for them
    (TensorRT-RTX documentation, "Working with RTX CUDA Graphs", and release notes of 1.2).
    """

    def __init__(self, trt: ModuleType, engine: Any, *, cuda_graphs: bool) -> None:
        """Take an engine; ``cuda_graphs`` if the library is to capture them."""
        choices = engine.create_runtime_config()
        choices.cuda_graph_strategy = (
            trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            if cuda_graphs
            else trt.CudaGraphStrategy.DISABLED
        )
        kernels = choices.create_runtime_cache()
        choices.set_runtime_cache(kernels)
        # Contexts point to the kernels without keeping them.
        self._engine, self._choices, self._kernels = engine, choices, kernels

    def make(self) -> Any | None:
        """A context, or None if there is no room for one."""
        return self._engine.create_execution_context(self._choices)
