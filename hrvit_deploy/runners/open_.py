"""The right runner for an artefact, or for the network it came from."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hrvit_deploy.artefact import Artefact, Manifest, Preparation, open_artefact
from hrvit_deploy.options import ONNXRUNTIME_OPSET, InputFormat, Precision
from hrvit_deploy.runners.contender import Contender, ContenderKind, Provider
from hrvit_deploy.runners.direct import RunOptions, open_direct
from hrvit_deploy.runners.protocol import Runner


def open_runner(contender: Contender, *, profiled: bool = False) -> Runner:
    """Open what a contender describes; ``profiled`` if its nodes are to be timed.

    An eager or compiled contender is the network its artefact came from, in float32, on
    normalised images; it answers in the artefact's own output format.

    Raises:
        ArtefactError: The artefact is not what its sidecar says, or not for this GPU.
        CheckpointError: The weights an eager network needs are gone or changed.
        MissingDependency: The library, driver or provider is not there.
        RunnerError: It cannot be opened.
    """
    artefact = open_artefact(Path(contender.path))
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        # Runners have read their files once they are open.
        return _open(contender, artefact, Path(folder), profiled=profiled)


def _open(contender: Contender, artefact: Artefact, folder: Path, *, profiled: bool) -> Runner:
    if contender.kind in (ContenderKind.ONNX, ContenderKind.PLAN):
        graph = artefact.path
        # OpenVINO reads every opset and every type as they are.
        if contender.kind is ContenderKind.ONNX and contender.provider is not Provider.OPENVINO:
            graph = runnable_graph(artefact, contender, folder)
        options = RunOptions(
            provider=contender.provider,
            threads=contender.threads,
            inference_precision=contender.inference_precision,
            lean=contender.lean,
        )
        return open_direct(artefact, options, graph=graph, profiled=profiled)
    from hrvit_deploy.runners.reference import reference_network
    from hrvit_deploy.runners.torch_ import CompiledRunner, EagerRunner

    compiled = contender.kind is ContenderKind.COMPILE
    return (CompiledRunner if compiled else EagerRunner)(
        reference_network(artefact.manifest, contender.checkpoint),
        output=artefact.manifest.outputs[0].name,
        device=contender.provider.device,
        threads=contender.threads,
    )


def runnable_graph(artefact: Artefact, contender: Contender, folder: Path) -> Path:
    """The graph as onnxruntime can run it; a copy in ``folder`` where it cannot as it is.

    Opsets newer than onnxruntime knows are brought down. On a CPU, bfloat16 is emulated,
    and float16 too where the contender is to round as the graph says.
    """
    graph, precision = artefact.manifest.graph, artefact.manifest.float_type
    rounded = contender.emulates and (
        precision is Precision.BF16 or (precision is Precision.FP16 and contender.rounded)
    )
    too_new = graph is not None and graph.opset > ONNXRUNTIME_OPSET
    if not rounded and not too_new:
        return artefact.path
    import onnx

    from hrvit_deploy.graphs import ELEMENT_TYPES, runnable, write_graph
    from hrvit_deploy.runners.rounding import round_everywhere

    model = runnable(onnx.load(artefact.path))
    if rounded:
        model = round_everywhere(model, ELEMENT_TYPES[precision])
    copy = folder / artefact.path.name
    write_graph(model, copy)
    return copy


def preparation_for(contender: Contender, manifest: Manifest) -> Preparation:
    """How an image becomes the contender's input.

    Eager networks take images normalised outside them, whatever the artefact takes.
    """
    if contender.kind in (ContenderKind.EAGER, ContenderKind.COMPILE):
        return replace(manifest.preparation, format=InputFormat.FLOAT_NCHW)
    return manifest.preparation
