"""The network's scores to what they decide, as the last step of a Triton ensemble.

Triton's Python backend runs this file as ``model.py``; it needs NumPy and Pillow.
``artefact.json`` and ``classes.json`` beside it say what the scores are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from PIL import Image

# Stands in label maps where scores are not finite, as the largest value of their type.
UNDECIDED = -1
# Classes whose indices a palette can show, with one left for undecided.
PALETTE_CLASSES = 255
# Scores brought to the size of a picture at once; 64 MiB of them.
STRIP_SCORES = 1 << 24


class TritonPythonModel:
    """Scores to ``probabilities``, or to a ``label_map``: a PNG of the image's own size."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read what the scores are."""
        sidecar, classes = (
            json.loads(Path(__file__).with_name(name).read_text("utf-8"))
            for name in ("artefact.json", "classes.json")
        )
        self._format = sidecar["output_format"]
        self._size = tuple(sidecar["preparation"]["size"])
        self._colours = classes["colours"]
        config = json.loads(args["model_config"])
        self._batched = config["max_batch_size"] > 0
        self._segments = sidecar["network"]["task"] == "segment"

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One answer a request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        scores = pb_utils.get_input_tensor_by_name(request, "scores").as_numpy()
        if not self._segments:
            shares = np.stack([softmax(one.astype(np.float32)) for one in scores])
            tensor = pb_utils.Tensor("probabilities", shares)
            return pb_utils.InferenceResponse(output_tensors=[tensor])
        sizes = pb_utils.get_input_tensor_by_name(request, "size").as_numpy()
        maps = np.empty(len(scores), np.object_)
        for index, (one, size) in enumerate(zip(scores, sizes.tolist(), strict=True)):
            maps[index] = encode(self._labels(one, size), self._colours)
        shaped = maps[:, None] if self._batched else maps
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("label_map", shaped)])

    def _labels(self, scores: Any, size: Sequence[int]) -> Any:
        """The class of each pixel, ``H x W`` int32 of that size."""
        if self._format == "classmap":
            return spread(scores, size, len(self._colours))
        scores = scores.astype(np.float32, copy=False)
        if self._format == "logits-quarter":
            # As the network's last layer would: first down, then across.
            rows = along(scores, *bilinear(scores.shape[1], self._size[0]), axis=1)
            scores = along(rows, *bilinear(scores.shape[2], self._size[1]), axis=2)
        return decide(scores, size)


def softmax(scores: Any) -> Any:
    """Probabilities over the first axis."""
    with np.errstate(invalid="ignore"):  # infinite scores become NaN, which tells
        raised = np.exp(scores - scores.max(axis=0))
    return raised / raised.sum(axis=0)


def decide(scores: Any, size: Sequence[int]) -> Any:
    """The winner of each pixel, from ``C x h x w`` scores brought to that size bilinearly."""
    height, width = size
    left, right, share = bilinear(scores.shape[1], height)
    columns = bilinear(scores.shape[2], width)
    step = max(1, STRIP_SCORES // (len(scores) * width))
    labels = np.empty((height, width), np.int32)
    for start in range(0, height, step):
        rows = slice(start, start + step)
        first, last = left[rows][0], right[rows][-1] + 1
        # Across first: there are fewer rows before.
        across = along(scores[:, first:last], *columns, axis=2)
        part = along(across, left[rows] - first, right[rows] - first, share[rows], axis=1)
        labels[rows] = part.argmax(axis=0)
        labels[rows][~np.isfinite(part).all(axis=0)] = UNDECIDED
    return labels


def spread(classmap: Any, size: Sequence[int], classes: int) -> Any:
    """A class map at that size, each pixel the class that its centre lies in."""
    rows, columns = (
        np.floor((np.arange(after) + 0.5) * before / after).astype(np.intp)
        for before, after in zip(classmap.shape, size, strict=True)
    )
    labels = classmap[rows[:, None], columns].astype(np.int32)
    labels[(labels < 0) | (labels >= classes)] = UNDECIDED
    return labels


def bilinear(before: int, after: int) -> tuple[Any, Any, Any]:
    """Which two old samples each new one is mixed from, and how much of the second.

    Pixel centres lie at halves and edges are held: PyTorch's ``align_corners=False``.
    """
    centres = ((np.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
    left = np.floor(centres).astype(np.intp)
    return left, np.minimum(left + 1, before - 1), centres - left


def along(maps: Any, left: Any, right: Any, share: Any, axis: int) -> Any:
    """Maps resampled along one axis, of the same type."""
    moved = bool(share.any())
    if not moved and np.array_equal(left, np.arange(maps.shape[axis])):
        return maps
    mixed = maps.take(left, axis=axis)
    if moved:
        shape = [1] * maps.ndim
        shape[axis] = -1
        mixed += (maps.take(right, axis=axis) - mixed) * share.astype(maps.dtype).reshape(shape)
    return mixed


def encode(labels: Any, colours: Sequence[Sequence[int]]) -> bytes:
    """A label map as a PNG whose values are class indices; 16 bits above 255 classes."""
    if len(colours) > PALETTE_CLASSES:
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        image = Image.fromarray(labels.astype(np.uint8)).convert("P")
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colours)] = colours
        image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
