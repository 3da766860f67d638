"""Execution contexts of TensorRT for RTX, which compiles kernels and captures graphs itself."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class RtxContexts:
    """A maker of an engine's execution contexts, which share their compiled kernels.

    The library compiles kernels for a shape at its first runs, and decides itself when a
    graph of them can be captured. Captures from outside would need a plan built for them
    (TensorRT-RTX documentation, "Working with RTX CUDA Graphs", and release notes of 1.2).
    """

    def __init__(self, trt: ModuleType, engine: Any, *, cuda_graphs: bool) -> None:
        """Configure an engine's contexts; ``cuda_graphs`` lets the library capture graphs."""
        runtime_config = engine.create_runtime_config()
        runtime_config.cuda_graph_strategy = (
            trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            if cuda_graphs
            else trt.CudaGraphStrategy.DISABLED
        )
        kernels = runtime_config.create_runtime_cache()
        runtime_config.set_runtime_cache(kernels)
        # Contexts point to the kernels without keeping them alive.
        self._engine, self._runtime_config, self._kernels = engine, runtime_config, kernels

    def make(self) -> Any | None:
        """Make a context; return None if there is no room for one."""
        return self._engine.create_execution_context(self._runtime_config)
