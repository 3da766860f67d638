"""Opens the right runner for an artefact, or for the network it came from."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hrvit_deploy.options import ONNXRUNTIME_OPSET, Precision
from hrvit_deploy.runners.open_file import open_file
from hrvit_deploy.runners.protocol import Runner
from hrvit_deploy.runners.spec import Implementation, Provider, RunnerSpec


def open_runner(spec: RunnerSpec, *, profiled: bool = False) -> Runner:
    """Open the runner that a spec describes.

    In PyTorch, the runner runs the network the artefact came from, in float32, on normalised
    images, and returns the artefact's own output format. The artefact's file was checked
    against its hash when the artefact was opened, and is not hashed again.

    Args:
        spec: The artefact and how it is run.
        profiled: Whether the runner is to time its nodes.

    Raises:
        ArtefactError: The artefact is a plan for another GPU or TensorRT version.
        CheckpointError: The weights an eager network needs are gone or changed.
        MissingDependency: The library, the driver or the provider is missing.
        RunnerError: The library cannot open the artefact.
    """
    if spec.in_torch:
        return _open_in_torch(spec)
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        graph = spec.artefact.path
        # OpenVINO reads every opset and every type unchanged.
        if spec.runs_graph and spec.options.provider is not Provider.OPENVINO:
            graph = runnable_graph(spec, Path(folder))
        # Runners have read their files once they are open.
        return open_file(spec.artefact, spec.options, graph=graph, profiled=profiled)


def _open_in_torch(spec: RunnerSpec) -> Runner:
    from hrvit_deploy.runners.reference import reference_network
    from hrvit_deploy.runners.torch_ import CompiledRunner, EagerRunner

    options, manifest = spec.options, spec.artefact.manifest
    compiled = options.implementation is Implementation.COMPILE
    return (CompiledRunner if compiled else EagerRunner)(
        reference_network(manifest, options.checkpoint),
        image=manifest.inputs[0].name,
        output=manifest.outputs[0].name,
        others=tuple(info.name for info in manifest.outputs[1:]),
        device=options.provider.device,
        threads=options.threads,
    )


def runnable_graph(spec: RunnerSpec, folder: Path) -> Path:
    """Return the graph, or a copy in ``folder`` where onnxruntime cannot run it unchanged.

    In the copy, an opset that is too new for onnxruntime is converted to an older one. On a
    CPU, bfloat16 is emulated, and float16 too with the option ``round_tensors``.
    """
    artefact = spec.artefact
    graph, precision = artefact.manifest.graph, artefact.manifest.float_type
    rounded = spec.emulates and (
        precision is Precision.BF16
        or (precision is Precision.FP16 and spec.options.round_tensors)
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
