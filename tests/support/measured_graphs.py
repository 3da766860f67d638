"""A graph with every kind of product, as an artefact, and what NumPy says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper
from PIL import Image

from hrvit_deploy.artefact import (
    Artefact,
    Kind,
    Manifest,
    Network,
    Preparation,
    TensorInfo,
    Weights,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.images import prepare
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Precision, Task
from support.graph_making import Value, floats, make_graph
from support.networks import TINY

SIZE = ImageSize(32, 32)
CONV, LINEAR = floats(4, 3, 4, 4, seed=1), floats(4, 5, seed=2)
node = helper.make_node


def products(batch: int | str = "batch") -> ModelProto:
    """A convolution; a product with a weight; one of two activations; one of weights."""
    kept: list[int] = [0, 0, -1]
    return make_graph(
        [
            node("Conv", ["image", "conv", "bias"], ["mapped"], "conv", strides=[4, 4]),
            node("Relu", ["mapped"], ["positive"], "relu"),
            node("Reshape", ["positive", "flat"], ["flattened"], "flatten"),
            node("Transpose", ["flattened"], ["tokens"], "tokens", perm=[0, 2, 1]),
            node("MatMul", ["tokens", "linear"], ["mixed"], "linear"),
            node("Transpose", ["mixed"], ["turned"], "turn", perm=[0, 2, 1]),
            node("MatMul", ["mixed", "turned"], ["scores"], "scores"),
            node("MatMul", ["linear", "square"], ["folded"], "folded"),
            node("MatMul", ["scores", "wide"], ["narrow"], "narrow"),
            node("MatMul", ["tokens", "folded"], ["other"], "other"),
            node("Add", ["narrow", "other"], ["logits"], "add"),
        ],
        Value("image", (batch, 3, *SIZE)),
        [Value("logits", (batch, 64, 5))],
        {
            "conv": CONV,
            "bias": floats(4, seed=3),
            "flat": np.array(kept),
            "linear": LINEAR,
            "square": floats(5, 5, seed=4),
            "wide": floats(64, 5, seed=5),
        },
    )


def artefact(
    folder: Path,
    model: ModelProto | None = None,
    *,
    batch: int | str = "batch",
    format_: InputFormat = InputFormat.FLOAT_NCHW,
    precision: Precision = Precision.FP32,
) -> Artefact:
    """That graph, or another with the same input, beside its sidecar."""
    path = folder / "products.onnx"
    onnx.save(model or products(batch), path)
    size = (*SIZE, 3) if format_ is InputFormat.UINT8_NHWC else (3, *SIZE)
    manifest = Manifest(
        kind=Kind.ONNX,
        sha256=sha256_of(path),
        network=Network(TINY, Task.CLASSIFY, 5, Weights.RANDOM),
        precision=precision,
        output_format=OutputFormat.LOGITS,
        inputs=(TensorInfo("image", (batch, *size), "float32", "NCHW"),),
        outputs=(TensorInfo("logits", (batch, 64, 5), "float32", "NC"),),
        preparation=Preparation(SIZE, format_),
        versions={},
        options={},
    )
    write_sidecar(path, manifest)
    return Artefact(path, manifest)


def pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, ``count x 32 x 32 x 3``; each image brighter than the one before."""
    random = np.random.default_rng(seed)
    drawn = random.integers(0, 256, (count, *SIZE, 3)).astype(np.float64)
    brightness = np.arange(1, count + 1).reshape(-1, 1, 1, 1) / count
    return (drawn * brightness).astype(np.uint8)


def save_images(folder: Path, images: NDArray[np.uint8]) -> Path:
    """The images as files ``000.png`` and on."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03}.png")
    return folder


def activations(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """What products take, by hand: ``N x 8 x 8`` windows of 4 x 4 pixels, and so on."""
    preparation = Preparation(SIZE)
    batch = np.concatenate([prepare(image, preparation) for image in images])
    windows = batch.reshape(-1, 3, 8, 4, 8, 4).transpose(0, 2, 4, 1, 3, 5)
    mapped = windows.reshape(-1, 64, 48) @ CONV.reshape(4, 48).T + floats(4, seed=3)
    tokens = np.maximum(mapped, 0)
    mixed = tokens @ LINEAR
    turned = mixed.transpose(0, 2, 1)
    return {
        "image": batch,
        "tokens": tokens,
        "mixed": mixed,
        "turned": turned,
        "scores": mixed @ turned,
    }
