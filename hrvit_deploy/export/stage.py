"""The export stage: an inference form in, an ONNX artefact out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from hrvit_deploy import graphs
from hrvit_deploy.artefact import (
    Artefact,
    Graph,
    Kind,
    Manifest,
    Network,
    Preparation,
    Source,
    TensorInfo,
    plain,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.deploy.form import InferenceForm
from hrvit_deploy.deploy.signature import Signed, feature_infos, input_info, output_info
from hrvit_deploy.errors import ExportError, PrecisionError
from hrvit_deploy.export.magnitudes import measure
from hrvit_deploy.export.precision import retype
from hrvit_deploy.export.simplify import simplify
from hrvit_deploy.export.trace import TRACER_OPSET, trace
from hrvit_deploy.model.network import Network as TorchNetwork
from hrvit_deploy.options import ExportOptions, Precision
from hrvit_deploy.progress import Progress, working
from hrvit_deploy.runners.memory import trim
from hrvit_deploy.staging import staging
from hrvit_deploy.verdict import inherited

# Types of floating inputs and outputs once --half-io has cast them.
HALF_TYPES = {Precision.FP16: "float16", Precision.BF16: "bfloat16"}
Batches = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """What is exported.

    Attributes:
        form: The network to trace.
        described: What the sidecar says of it.
        preparation: How images become its input.
        sources: The checkpoint it came from, if any.
    """

    form: InferenceForm[TorchNetwork]
    described: Network
    preparation: Preparation
    sources: tuple[Source, ...] = ()

    def signature(self, options: ExportOptions) -> tuple[TensorInfo, tuple[TensorInfo, ...]]:
        """Describe the input and the outputs of the graph in float32."""
        network, size, batch = self.described, options.size, options.batch
        taken = input_info(self.preparation, batch)
        if not network.decides:
            return taken, feature_infos(network.hrvit, size, batch)
        classes, returned = network.num_classes, options.output_format
        return taken, (output_info(network.built_task, returned, classes, size, batch),)


def export_onnx(
    subject: Subject,
    path: Path,
    options: ExportOptions,
    batches: Batches,
    progress: Progress,
) -> Artefact:
    """Trace, simplify, type, check and write a graph with its sidecar.

    Args:
        subject: What to export.
        path: ``NAME.onnx``; the sidecar goes beside it.
        options: See :class:`ExportOptions`.
        batches: Real images as the graph takes them, at least one batch, to compare
            graphs on and to measure activations.
        progress: Told of each step and of every fallback.

    Raises:
        ExportError: Tracing, checking or converting failed.
        PrecisionError: The graph cannot be typed as asked.
    """
    if options.opset > graphs.NEWEST_OPSET:
        raise ExportError(
            f"the installed onnx knows opsets up to {graphs.NEWEST_OPSET}, not {options.opset}",
            f"take --opset {graphs.NEWEST_OPSET} or older, or update onnx",
        )
    with staging(path) as folder:
        model, note = _draw(subject, folder, options, batches, progress)
        islands: dict[str, float] = {}
        if options.precision is not Precision.FP32:
            model, islands = narrow(
                model, options.precision, batches, progress, half_io=options.half_io
            )
        written = folder / path.name
        graphs.write_graph(graphs.set_opset(model, options.opset), written)
        graph = replace(
            graphs.describe_graph(written, options.opset),
            rewrites=tuple(name for name, places in subject.form.changes.items() if places),
            simplified=not note,
            note=note,
            float32_islands=islands,
        )
        manifest = _describe(subject, options, graph, sha256_of(written))
        write_sidecar(written, manifest)
    return Artefact(path, manifest)


def _draw(
    subject: Subject, folder: Path, options: ExportOptions, batches: Batches, progress: Progress
) -> tuple[ModelProto, str]:
    """Return the float32 graph, and why it is not simplified, if it is not."""
    input_info, output_infos = subject.signature(options)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        traced = Path(scratch) / "traced.onnx"
        network = Signed(subject.form.network, subject.preparation, options.output_format)
        with working(progress, "Tracing the graph"):
            trace(
                network.eval(),
                traced,
                input_info,
                output_infos[0],
                min(options.opset, TRACER_OPSET),
                others=output_infos[1:],
            )
        trim()
        if not options.simplify:
            return named(traced), "switched off"
        with working(progress, "Simplifying the graph"):
            simpler = simplify(
                traced, traced.with_stem("simplified"), {input_info.name: batches[0]}
            )
        if simpler.note:
            progress.warn(f"{simpler.note}; the unsimplified graph is kept")
        return named(simpler.path), simpler.note


def named(path: Path) -> ModelProto:
    """Tidy a traced graph: weights become initializers, nodes get names."""
    return graphs.read_named(path)


def _describe(subject: Subject, options: ExportOptions, graph: Graph, sha256: str) -> Manifest:
    input_info, output_infos = subject.signature(options)
    return Manifest(
        kind=Kind.ONNX,
        sha256=sha256,
        network=subject.described,
        precision=options.precision,
        output_format=options.output_format,
        inputs=(_narrow_info(input_info, options),),
        outputs=tuple(_narrow_info(info, options) for info in output_infos),
        preparation=subject.preparation,
        versions=graphs.tool_versions(),
        options=plain(options),
        sources=subject.sources,
        graph=graph,
    )


def cast_artefact(
    artefact: Artefact,
    path: Path,
    precision: Precision,
    batches: Batches,
    progress: Progress,
) -> Artefact:
    """Cast a float32 ONNX artefact to float16 or bfloat16, as an artefact of its own.

    Args:
        artefact: In float32.
        path: ``NAME.onnx`` to write.
        precision: FP16 or BF16.
        batches: Real images as the graph takes them, to measure activations on.
        progress: Advanced once a batch.

    Raises:
        PrecisionError: The artefact is not float32, or cannot be typed as asked.
    """
    manifest = artefact.manifest
    if manifest.precision is not Precision.FP32 or manifest.graph is None:
        raise PrecisionError(
            f"{artefact.path} is {manifest.precision}, and only fp32 can be cast",
            f"run hrvit-deploy export --precision {precision}",
        )
    with staging(path) as folder:
        model, islands = narrow(
            graphs.read_named(artefact.path), precision, batches, progress, half_io=False
        )
        written = folder / path.name
        graphs.write_graph(model, written)
        graph = graphs.redescribed(manifest.graph, written, graphs.opset_of(model))
        changed = replace(
            manifest,
            sha256=sha256_of(written),
            precision=precision,
            versions=graphs.tool_versions(),
            options={**manifest.options, "precision": precision, "opset": graph.opset},
            sources=artefact.as_source(),
            graph=replace(graph, float32_islands=islands),
            parity=None,
            accepted=inherited(manifest),
        )
        write_sidecar(written, changed)
    return Artefact(path, changed)


def narrow(
    model: ModelProto,
    precision: Precision,
    batches: Batches,
    progress: Progress,
    *,
    half_io: bool,
) -> tuple[ModelProto, dict[str, float]]:
    """Cast the graph to that precision, and return the nodes that had to stay float32."""
    if graphs.is_large(model):
        raise PrecisionError(
            f"the graph is over 2 GB, too large for onnx to type it in {precision}",
            "export it in fp32",
        )
    # bfloat16 reaches as far as float32, so nothing needs measuring for it.
    needed = precision is Precision.FP16
    magnitudes = measure(model, batches, progress) if needed else {}
    typed = retype(model, precision, magnitudes, half_io=half_io)
    if typed.islands:
        progress.note(f"{len(typed.islands)} nodes stay float32: their values are too large")
    return typed.model, typed.islands


def _narrow_info(info: TensorInfo, options: ExportOptions) -> TensorInfo:
    if options.half_io and info.dtype == "float32":
        return replace(info, dtype=HALF_TYPES[options.precision])
    return info
