"""An artefact small enough to make anew in every test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from hrvit_deploy.artefact import (
    Artefact,
    Graph,
    Kind,
    Manifest,
    Network,
    Preparation,
    Source,
    TensorInfo,
    Weights,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import ImageSize, OutputFormat, Precision, Task

SIZE = 32


Make = Callable[[Path], Artefact]


def artefact(
    folder: Path, *, batch: int | str = "batch", name: str = "small.onnx", **changes: Any
) -> Artefact:
    """A graph that answers with the mean of each channel: three classes."""
    path = folder / name
    onnx.save(_graph(batch), path)
    manifest = Manifest(
        kind=Kind.ONNX,
        sha256=sha256_of(path),
        network=Network(VARIANTS["b1"], Task.CLASSIFY, 3, Weights.RANDOM),
        precision=Precision.FP32,
        output_format=OutputFormat.LOGITS,
        inputs=(TensorInfo("image", (batch, 3, SIZE, SIZE), "float32", "NCHW"),),
        outputs=(TensorInfo("logits", (batch, 3), "float32", "NC"),),
        preparation=Preparation(ImageSize(SIZE, SIZE)),
        versions={"onnx": onnx.__version__},
        options={"opset": 20},
        sources=(Source("checkpoint", "weights.pth", "c0ffee"),),
        graph=Graph(20, {"Flatten": 1, "GlobalAveragePool": 1, "Mul": 7}, ("fold-norms",)),
    )
    manifest = replace(manifest, **changes)
    write_sidecar(path, manifest)
    return Artefact(path, manifest)


def _graph(batch: int | str) -> onnx.ModelProto:
    image: list[int | str] = [batch, 3, SIZE, SIZE]
    logits: list[int | str] = [batch, 3]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"]),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
