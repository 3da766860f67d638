"""Encoded images to the network's input, as one step of a Triton ensemble.

Triton's Python backend runs this file as ``model.py``, with its folder on the path of
modules. ``standalone`` beside it needs NumPy and Pillow; ``artefact.json`` describes how
images are prepared.
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

from standalone.decode import (
    BrokenImage,
    ImageError,
    TooLarge,
    UnknownFormat,
    decode_image,
)
from standalone.preprocess import prepare


class Refused(Exception):
    """An image that cannot be used, and why."""


class TritonPythonModel:
    """``encoded`` images to ``prepared`` ones, and their ``size`` where it is an output."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read how images are prepared."""
        sidecar = json.loads(Path(__file__).with_name("artefact.json").read_text("utf-8"))
        self._preparation = sidecar["preparation"]
        self._dtype = np.dtype(sidecar["inputs"][0]["dtype"])
        config = json.loads(args["model_config"])
        self._outputs = {output["name"] for output in config["output"]}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return a response for each request; a broken image fails its own request alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            return self._prepared(request)
        except Refused as refusal:
            error = pb_utils.TritonError(str(refusal), pb_utils.TritonError.INVALID_ARG)
        except Exception as fault:  # noqa: BLE001 - other requests are answered
            error = pb_utils.TritonError(f"{type(fault).__name__}: {fault}")
        return pb_utils.InferenceResponse(error=error)

    def _prepared(self, request: Any) -> Any:
        encoded = pb_utils.get_input_tensor_by_name(request, "encoded").as_numpy()
        images = decode_all(encoded.ravel().tolist())
        tensors = {
            "prepared": np.concatenate([self._prepare(pixels) for pixels in images]),
            "size": np.array([pixels.shape[:2] for pixels in images], np.int32),
        }
        outputs = [
            pb_utils.Tensor(name, array)
            for name, array in tensors.items()
            if name in self._outputs
        ]
        return pb_utils.InferenceResponse(output_tensors=outputs)

    def _prepare(self, pixels: Any) -> Any:
        """Make a batch of one from an image, as the sidecar describes it."""
        return prepare(
            pixels,
            self._preparation["size"],
            self._preparation["format"],
            mean=self._preparation["mean"],
            std=self._preparation["std"],
            dtype=self._dtype,
        )


def decode_all(encoded: Sequence[bytes]) -> list[Any]:
    """Decode each image to ``H x W x 3`` uint8 RGB.

    Raises:
        Refused: One cannot be decoded; its number is in the message.
    """
    images = []
    for number, content in enumerate(encoded, 1):
        name = f"image {number} of {len(encoded)}"
        try:
            images.append(decode_image(content, name))
        except UnknownFormat as error:
            raise Refused(
                f"{name} ({len(content)} bytes) is no image: send an encoded file, such as a"
                " JPEG"
            ) from error
        except TooLarge as error:
            raise Refused(f"{error}: {error.hint}") from error
        except BrokenImage as error:
            raise Refused(f"{error}; send the file again, whole") from error
        except ImageError as error:
            raise Refused(f"{error}: send 8 or 16 bits per channel") from error
    return images
