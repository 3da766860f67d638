"""Images in, label maps or class probabilities out; NumPy, Pillow and one runtime.

Images are prepared and answers decided as hrvit-deploy does, number for number. The files
beside this package say how: ``app.json`` names the model and its classes, the model's own
sidecar says the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .running import Runtime

Array = NDArray[Any]
Size = tuple[int, int]

FOLDER = Path(__file__).parents[1]
# Stands in label maps where scores are not finite.
UNDECIDED = -1
# Single-channel modes wider than a byte, which Pillow would clip instead of scale.
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# Scores brought to the size of an image at once; 64 MiB of them.
STRIP_SCORES = 1 << 24


class Session:
    """The model, opened. Threads may share it.

    Attributes:
        segments: Whether it answers with label maps, or with probabilities.
        names: Of the classes, in the order of labels and probabilities.
        colours: Red, green and blue of each, from 0 to 255.
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
        """What the network sees.

        Args:
            image: A file, or ``H x W x 3`` uint8 RGB of any size.

        Returns:
            Of a segmenter ``H x W`` int32 class indices, -1 where scores are not finite; of
            a classifier ``C`` float32 probabilities.

        Raises:
            OSError: The file is no image that Pillow can read.
            ValueError: The array is no such image.
        """
        pixels = image if isinstance(image, np.ndarray) else load_image(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            shape = " x ".join(map(str, pixels.shape))
            raise ValueError(f"give H x W x 3 uint8 RGB, not {pixels.dtype} of {shape}")
        prepared = prepare(pixels, self._preparation, self._dtype)
        answer = self._runtime.run(np.repeat(prepared, self._batch, axis=0))[0]
        if self._format == "classmap":
            return spread(answer, pixels.shape[:2], len(self.names))
        scores = answer.astype(np.float32)
        if not self.segments:
            return scores if self._format == "probabilities" else softmax(scores)
        if self._format == "logits-quarter":
            scores = enlarge(scores, self._preparation["size"])
        return decide(scores, pixels.shape[:2])

    def close(self) -> None:
        """Give everything back."""
        self._runtime.close()


def load_image(path: str | Path) -> NDArray[np.uint8]:
    """A file as ``H x W x 3`` RGB: upright, in 8 bits, transparency laid over white."""
    with Image.open(path) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode in WIDE_MODES:
        grey = np.asarray(image)
        if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError(f"{path} holds samples whose white nobody knows: make it 16 bits")
        narrow = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(narrow[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def prepare(pixels: NDArray[np.uint8], how: dict[str, Any], dtype: str) -> Array:
    """``H x W x 3`` pixels as a batch of one, resized and normalised as the sidecar says."""
    height, width = how["size"]
    if pixels.shape[:2] != (height, width):
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.array(image)
    if how["format"] == "uint8-nhwc":
        return pixels[None]
    mean, std = (np.asarray(how[name], np.float32) for name in ("mean", "std"))
    normalised = (pixels.astype(np.float32) - mean) / std
    return normalised.transpose(2, 0, 1)[None].astype(dtype, order="C")


def softmax(scores: Array) -> Array:
    """Probabilities over the first axis."""
    with np.errstate(invalid="ignore"):  # infinite scores become NaN, which tells
        raised = np.exp(scores - scores.max(axis=0))
    shares: Array = raised / raised.sum(axis=0)
    return shares


def decide(scores: Array, size: Size) -> Array:
    """The winner of each pixel, from ``C x h x w`` scores brought to that size bilinearly."""
    height, width = size
    rows, columns = taps(scores.shape[1], height), taps(scores.shape[2], width)
    step = max(1, STRIP_SCORES // (len(scores) * width))
    labels = np.empty((height, width), np.int32)
    for start in range(0, height, step):
        left, right, share = (part[start : start + step] for part in rows)
        first, last = left[0], right[-1] + 1
        # Across first: there are fewer rows before.
        across = along(scores[:, first:last], columns, axis=2)
        strip = along(across, (left - first, right - first, share), axis=1)
        winners = strip.argmax(axis=0)
        winners[~np.isfinite(strip).all(axis=0)] = UNDECIDED
        labels[start : start + step] = winners
    return labels


def spread(labels: Array, size: Size, classes: int) -> Array:
    """A label map brought to that size by the nearest pixel; -1 for classes there are not."""
    rows, columns = (
        ((np.arange(after) + 0.5) * before / after).astype(np.intp)
        for before, after in zip(labels.shape, size, strict=True)
    )
    found: Array = labels[rows[:, None], columns].astype(np.int32)
    found[(found < 0) | (found >= classes)] = UNDECIDED
    return found


def enlarge(scores: Array, size: Size) -> Array:
    """Quarter-size ``C x h x w`` scores as the network's last layer would: first down."""
    rows = along(scores, taps(scores.shape[1], size[0]), axis=1)
    return along(rows, taps(scores.shape[2], size[1]), axis=2)


def taps(before: int, after: int) -> tuple[Array, Array, Array]:
    """Which old samples each new one is mixed from, and how much of the second."""
    centres = ((np.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
    left = np.floor(centres).astype(np.intp)
    return left, np.minimum(left + 1, before - 1), centres - left


def along(maps: Array, mixed_from: tuple[Array, Array, Array], axis: int) -> Array:
    """Maps resampled along one axis, of the same type."""
    left, right, share = mixed_from
    mixed: Array = maps.take(left, axis=axis)
    if share.any():
        shape = [1] * maps.ndim
        shape[axis] = -1
        mixed += (maps.take(right, axis=axis) - mixed) * share.astype(maps.dtype).reshape(shape)
    return mixed
