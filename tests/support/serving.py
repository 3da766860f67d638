"""Artefacts that open in no time, for sessions to be loaded from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hrvit_deploy.artefact import (
    Artefact,
    Engine,
    Kind,
    Network,
    Preparation,
    TensorInfo,
    Weights,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.images import Pixels
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import ImageSize, OutputFormat, Task
from support import small_artefacts
from support.graph_making import Value, make_graph
from support.labelled import picture

CLASSES, SIDE = 5, 32
MIX = np.random.default_rng(7).normal(size=(CLASSES, 3, 3, 3)).astype(np.float32)


def segmenter(folder: Path, *, batch: int | str = "batch", **changes: Any) -> Artefact:
    """A graph that tells five classes apart by a 3 x 3 product."""
    network = Network(VARIANTS["b1"], Task.SEGMENT, CLASSES, Weights.RANDOM)
    shape = (batch, CLASSES, SIDE, SIDE)
    made = small_artefacts.artefact(
        folder,
        batch=batch,
        network=network,
        outputs=(TensorInfo("logits", shape, "float32", "NCHW"),),
        **changes,
    )
    graph = make_graph(
        [onnx.helper.make_node("Conv", ["image", "mix"], ["logits"], pads=[1] * 4)],
        Value("image", [batch, 3, SIDE, SIDE]),
        [Value("logits", shape)],
        {"mix": MIX},
    )
    onnx.save(graph, made.path)
    manifest = replace(made.manifest, sha256=sha256_of(made.path))
    write_sidecar(made.path, manifest)
    return Artefact(made.path, manifest)


def plan(folder: Path, words: str = "dynamic") -> Artefact:
    """What the TensorRT stand-in opens: it doubles images of 4 x 4, in three classes."""
    path = folder / "small.plan"
    path.write_bytes(words.encode())
    shape = ("batch", 3, 4, 4)
    made = segmenter(folder)
    manifest = replace(
        made.manifest,
        kind=Kind.PLAN,
        sha256=sha256_of(path),
        network=replace(made.manifest.network, num_classes=3),
        output_format=OutputFormat.LOGITS,
        inputs=(TensorInfo("images", shape, "float32", "NCHW"),),
        outputs=(TensorInfo("logits", shape, "float32", "NCHW"),),
        preparation=Preparation(ImageSize(4, 4)),
        options={"profile": {"min": 1, "opt": 2, "max": 4}},
        graph=None,
        engine=Engine("tensorrt", "10.16.1.11", {}, {}, 0, 1.0, ("8.9",)),
    )
    write_sidecar(path, manifest)
    return Artefact(path, manifest)


def pictures(count: int) -> list[Pixels]:
    """Different ones, of different sizes."""
    return [picture(seed, 20 + 7 * seed, 50 - 3 * seed) for seed in range(count)]
