"""Opens graphs and plans unchanged, in the runtimes they are for.

This needs neither PyTorch nor the onnx package.
"""

from __future__ import annotations

from pathlib import Path

from hrvit_deploy.artefact import Artefact, Kind
from hrvit_deploy.options import Precision
from hrvit_deploy.runners.protocol import Runner
from hrvit_deploy.runners.spec import Provider, RunOptions


def open_file(
    artefact: Artefact,
    options: RunOptions,
    *,
    graph: Path | None = None,
    profiled: bool = False,
) -> Runner:
    """Open an artefact's own file.

    Args:
        artefact: A graph or a plan.
        options: How it is run.
        graph: Another graph to run in place of the artefact's.
        profiled: Whether the runner is to time its nodes.

    Raises:
        ArtefactError: The artefact is a plan for another GPU or TensorRT version.
        MissingDependency: The library, the driver or the provider is missing.
        RunnerError: The library cannot open the artefact.
    """
    if artefact.manifest.kind is Kind.PLAN:
        from hrvit_deploy.runners.tensorrt.runner import TensorRTRunner

        return TensorRTRunner(
            artefact,
            allow_host_code=options.allow_host_code,
            concurrency=options.concurrency,
            # Inside a CUDA graph, layers cannot be timed one by one.
            cuda_graphs=options.cuda_graphs and not profiled,
        )
    if options.provider is Provider.OPENVINO:
        from hrvit_deploy.runners.openvino_ import OpenVinoRunner

        return OpenVinoRunner(
            graph or artefact.path,
            threads=options.threads,
            concurrency=options.concurrency,
            precision=options.inference_precision,
            profiled=profiled,
        )
    from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

    return OnnxRuntimeRunner(
        graph or artefact.path,
        provider=options.provider,
        threads=options.threads,
        concurrency=options.concurrency,
        # Its optimiser moves an E4M3 DequantizeLinear past a Transpose that takes no E4M3.
        optimize=artefact.manifest.precision is not Precision.FP8,
        profiled=profiled,
        save_memory=options.save_memory,
    )
