"""The model in onnxruntime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray


class Runtime:
    """One opened model; threads may share it."""

    def __init__(self, model: Path, sidecar: dict[str, Any]) -> None:
        """Open a graph."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Where a CPU without VNNI would overflow in 8-bit products, take exact kernels.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if sidecar["precision"] == "fp8":
            # It moves an FP8 DequantizeLinear past a Transpose that takes no FP8.
            off = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = off
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._input: str = sidecar["inputs"][0]["name"]
        self._output: str = sidecar["outputs"][0]["name"]

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of a batch of prepared images."""
        outputs: NDArray[Any] = self._session.run([self._output], {self._input: batch})[0]
        return outputs

    def close(self) -> None:
        """Close the model."""
        del self._session
