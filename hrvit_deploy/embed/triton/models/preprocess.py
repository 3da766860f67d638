"""Encoded images to the network's input, as one step of a Triton ensemble.

Triton's Python backend runs this file as ``model.py``; it needs NumPy and Pillow.
``artefact.json`` beside it says how images are prepared.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from PIL import Image, ImageOps, UnidentifiedImageError

# What Pillow's decoders raise on broken files.
BROKEN = (
    OSError,
    EOFError,
    IndexError,
    OverflowError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)
# Single-channel modes wider than a byte.
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


class Refused(Exception):
    """An image that cannot be used, and why."""


class TritonPythonModel:
    """``encoded`` images to ``prepared`` ones, and their ``size`` where it is asked for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read how images are prepared."""
        sidecar = json.loads(Path(__file__).with_name("artefact.json").read_text("utf-8"))
        self._preparation = sidecar["preparation"]
        self._dtype = np.dtype(sidecar["inputs"][0]["dtype"])
        config = json.loads(args["model_config"])
        self._outputs = {output["name"] for output in config["output"]}

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One answer a request; a broken image fails its own request alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        encoded = pb_utils.get_input_tensor_by_name(request, "encoded").as_numpy()
        try:
            images = decode_all(encoded.ravel().tolist())
        except Refused as refusal:
            error = pb_utils.TritonError(str(refusal), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        prepared = [prepare(pixels, self._preparation, self._dtype) for pixels in images]
        tensors = {
            "prepared": np.concatenate(prepared),
            "size": np.array([pixels.shape[:2] for pixels in images], np.int32),
        }
        chosen = [
            pb_utils.Tensor(name, array)
            for name, array in tensors.items()
            if name in self._outputs
        ]
        return pb_utils.InferenceResponse(output_tensors=chosen)


def decode_all(encoded: list[bytes]) -> list[Any]:
    """Each as ``H x W x 3`` uint8 RGB.

    Raises:
        Refused: One cannot be decoded; it is named by its number.
    """
    images = []
    for number, content in enumerate(encoded, 1):
        try:
            images.append(decode(content))
        except Refused as refusal:
            raise Refused(f"image {number} of {len(encoded)} {refusal}") from refusal
    return images


def decode(content: bytes) -> Any:
    """The image a viewer would show: turned as EXIF says, transparency over white."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise Refused(
            f"({len(content)} bytes) is no image: send an encoded file, such as a JPEG"
        ) from error
    except BROKEN as error:
        raise Refused(f"cannot be decoded: {error}; send the file again, whole") from error


def to_rgb(image: Image.Image) -> Any:
    """Any mode as ``H x W x 3`` uint8."""
    if image.mode in WIDE_MODES:
        return from_wide(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def from_wide(grey: Any) -> Any:
    """16-bit grey, ``H x W`` from 0 to 65535, as RGB."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 0xFFFF:
        raise Refused(
            f"holds {grey.dtype} samples whose white nobody knows:"
            " send 8 or 16 bits per channel"
        )
    # 65535 / 257 is 255; the half rounds.
    narrow = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(narrow[..., None], 3, axis=2)


def prepare(pixels: Any, preparation: dict[str, Any], dtype: Any) -> Any:
    """One image as a batch of one: resized, and normalised where the network takes floats."""
    height, width = preparation["size"]
    if pixels.shape[:2] != (height, width):
        # Pillow's bilinear filter widens as it shrinks an image: that is the antialiasing.
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.array(image)
    if preparation["format"] == "uint8-nhwc":
        return pixels[None]
    mean, std = (np.asarray(preparation[key], np.float32) for key in ("mean", "std"))
    normalised = (pixels.astype(np.float32) - mean) / std
    return normalised.transpose(2, 0, 1)[None].astype(dtype, order="C")
