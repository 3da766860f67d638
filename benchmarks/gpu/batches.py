"""A graph of any batch as one of a fixed batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from hrvit_deploy import graphs
from hrvit_deploy.artefact import (
    Artefact,
    TensorInfo,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.staging import staging


def fix_batch(graph: Artefact, batch: int, path: Path) -> Artefact:
    """A graph of any batch as one of that batch.

    Only the shapes of its ends change: what depends on them is constant then, and every
    runtime folds it. Nothing is run at that batch, which would take much memory.
    """
    model = onnx.load(graph.path)
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.shape.dim[0].dim_value = batch
    # Of what lies between, shapes are inferred anew.
    del model.graph.value_info[:]
    manifest = graph.manifest
    assert manifest.graph is not None
    with staging(path) as folder:
        written = folder / path.name
        graphs.write_graph(model, written)
        fixed = replace(
            manifest,
            sha256=sha256_of(written),
            inputs=tuple(with_batch(info, batch) for info in manifest.inputs),
            outputs=tuple(with_batch(info, batch) for info in manifest.outputs),
            options={**manifest.options, "batch": batch},
            sources=graph.as_source(),
            graph=graphs.redescribed(manifest.graph, written, graphs.opset_of(model)),
            parity=None,
        )
        write_sidecar(written, fixed)
    return Artefact(path, fixed)


def with_batch(info: TensorInfo, batch: int) -> TensorInfo:
    return replace(info, shape=(batch, *info.shape[1:]))
