"""The network's scores to label maps or probabilities, as the last step of an ensemble.

Triton's Python backend runs this file as ``model.py``, with its folder on the path of
modules. ``standalone`` beside it needs NumPy and Pillow; ``artefact.json`` and
``classes.json`` describe the scores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

# Triton puts this folder there; whatever else loads this file need not.
sys.path.append(str(Path(__file__).parent))

from standalone.draw import encode_png, index_image
from standalone.postprocess import output_label_map, softmax


class TritonPythonModel:
    """Scores to ``probabilities``, or to a ``label_map``: a PNG of the image's own size."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read what the scores are."""
        sidecar, classes = (
            json.loads(Path(__file__).with_name(name).read_text("utf-8"))
            for name in ("artefact.json", "classes.json")
        )
        self._format = sidecar["output_format"]
        self._input_size = tuple(sidecar["preparation"]["size"])
        self._colours = classes["colours"]
        config = json.loads(args["model_config"])
        self._batched = config["max_batch_size"] > 0
        self._segments = sidecar["network"]["task"] == "segment"

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return a response for each request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            return self._decided(request)
        except Exception as fault:  # noqa: BLE001 - other requests are answered
            error = pb_utils.TritonError(f"{type(fault).__name__}: {fault}")
        return pb_utils.InferenceResponse(error=error)

    def _decided(self, request: Any) -> Any:
        scores = pb_utils.get_input_tensor_by_name(request, "scores").as_numpy()
        if not self._segments:
            shares = np.stack([softmax(each.astype(np.float32)) for each in scores])
            output = pb_utils.Tensor("probabilities", shares)
            return pb_utils.InferenceResponse(output_tensors=[output])
        sizes = pb_utils.get_input_tensor_by_name(request, "size").as_numpy()
        maps = np.empty(len(scores), np.object_)
        for index, (each, (height, width)) in enumerate(zip(scores, sizes, strict=True)):
            labels = self._labels(each, (int(height), int(width)))
            image = index_image(labels, self._colours)
            maps[index] = encode_png(image)
        shaped = maps[:, None] if self._batched else maps
        output = pb_utils.Tensor("label_map", shaped)
        return pb_utils.InferenceResponse(output_tensors=[output])

    def _labels(self, scores: Any, size: tuple[int, int]) -> Any:
        """Return the class of each pixel, ``H x W`` int32 of that size."""
        classes = len(self._colours)
        return output_label_map(scores, self._format, self._input_size, size, classes)
