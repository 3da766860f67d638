"""The model in OpenVINO, on the CPU."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# It would tell Google Analytics of each import.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402


class Runtime:
    """One opened model; threads that share it take turns."""

    def __init__(self, model: Path, sidecar: dict[str, Any]) -> None:
        """Compile a graph, to be computed in float32 and answered as soon as can be."""
        del sidecar  # the graph has one input and one output
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(model, "CPU", config)
        self._request = compiled.create_infer_request()
        self._turn = threading.Lock()

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The answers to a batch of prepared images."""
        with self._turn:
            self._request.infer([batch], share_inputs=True)
            # The next run writes there again.
            return np.array(self._request.get_output_tensor(0).data)

    def close(self) -> None:
        """Let go of the model."""
        del self._request
