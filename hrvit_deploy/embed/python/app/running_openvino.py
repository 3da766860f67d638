"""The model in OpenVINO, on the CPU."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# It would report each import to Google Analytics.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402


class Runtime:
    """One opened model; threads that share it take turns."""

    def __init__(self, model: Path, sidecar: dict[str, Any]) -> None:
        """Compile a graph, to run in float32 and with the lowest latency."""
        del sidecar  # the graph has one input and one output
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(model, "CPU", config)
        self._request = compiled.create_infer_request()
        self._turn = threading.Lock()

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of a batch of prepared images."""
        with self._turn:
            self._request.infer([batch], share_inputs=True)
            # The next run overwrites it.
            return np.array(self._request.get_output_tensor(0).data)

    def close(self) -> None:
        """Close the model."""
        del self._request
