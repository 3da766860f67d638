"""Images in, label maps or class probabilities out; NumPy, Pillow and one runtime.

Images are prepared and outputs decided by ``standalone``, as hrvit-deploy does itself. The
files beside this package describe the rest: ``app.json`` names the model and its classes,
and the model's own sidecar its input and output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .running import Runtime
from .standalone.decode import load_image
from .standalone.postprocess import output_label_map, softmax
from .standalone.preprocess import prepare

Array = NDArray[Any]

FOLDER = Path(__file__).parents[1]


class Session:
    """The model, opened. Threads may share it.

    Attributes:
        segments: Whether it returns label maps, or else probabilities.
        names: Names of the classes, in the order of labels and probabilities.
        colours: Red, green and blue of each class, from 0 to 255.
        clear: Indices of classes that overlays leave as the image is.
    """

    def __init__(self, folder: str | Path = FOLDER) -> None:
        """Open the model that ``app.json`` in a folder names."""
        app = json.loads(Path(folder, "app.json").read_text("utf-8"))
        model = Path(folder, app["model"])
        sidecar = json.loads(model.with_suffix(".json").read_text("utf-8"))
        self.names, self.colours, self.clear = app["names"], app["colours"], app["clear"]
        self.segments = sidecar["network"]["task"] == "segment"
        self._format: str = sidecar["output_format"]
        self._preparation = sidecar["preparation"]
        self._dtype: str = sidecar["inputs"][0]["dtype"]
        # A fixed batch, or the least that a plan takes, is filled up with the one image.
        batch = sidecar["inputs"][0]["shape"][0]
        least = (sidecar["options"].get("profile") or {}).get("min", 1)
        self._batch = batch if isinstance(batch, int) else least
        self._runtime = Runtime(model, sidecar)

    def __call__(self, image: str | Path | Array) -> Array:
        """Run the network on one image.

        Args:
            image: A file, or ``H x W x 3`` uint8 RGB of any size.

        Returns:
            ``H x W`` int32 class indices of a segmenter, -1 where scores are not finite;
            ``C`` float32 probabilities of a classifier.

        Raises:
            ValueError: The file or the array is no such image.
        """
        pixels = image if isinstance(image, np.ndarray) else load_image(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            shape = " x ".join(map(str, pixels.shape))
            raise ValueError(f"give H x W x 3 uint8 RGB, not {pixels.dtype} of {shape}")
        output = self._runtime.run(np.repeat(self._prepare(pixels), self._batch, axis=0))[0]
        if self.segments:
            return self._label_map(output, pixels.shape[:2])
        scores: Array = output.astype(np.float32)
        shares: Array = scores if self._format == "probabilities" else softmax(scores)
        return shares

    def _prepare(self, pixels: NDArray[np.uint8]) -> Array:
        """Make a batch of one from an image, as the sidecar describes it."""
        how = self._preparation
        prepared: Array = prepare(
            pixels,
            how["size"],
            how["format"],
            mean=how["mean"],
            std=how["std"],
            dtype=self._dtype,
        )
        return prepared

    def _label_map(self, output: Array, size: tuple[int, int]) -> Array:
        """Return the class of each pixel of an image of that height and width."""
        input_size, classes = self._preparation["size"], len(self.names)
        labels: Array = output_label_map(output, self._format, input_size, size, classes)
        return labels

    def close(self) -> None:
        """Close the model."""
        self._runtime.close()
