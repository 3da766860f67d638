"""Graphs and plans as they lie there, in the runtimes they are for.

Neither PyTorch nor the onnx package is needed for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrvit_deploy.artefact import Artefact, Kind
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import Precision
from hrvit_deploy.runners.contender import InferencePrecision, Provider
from hrvit_deploy.runners.pool import check_concurrency
from hrvit_deploy.runners.protocol import Runner


@dataclass(frozen=True)
class RunOptions:
    """How a graph or a plan is run.

    Attributes:
        provider: What runs a graph; a plan knows no choice.
        threads: Of a CPU runner; None for one per physical core this process may use.
        concurrency: Runs at once at most; None for what answers one caller soonest: one in
            OpenVINO, two for a plan, any number in onnxruntime.
        inference_precision: What OpenVINO computes in; for no other provider.
        cuda_graphs: Whether plans capture what runs again as CUDA graphs.
        allow_host_code: Whether the code that version compatible plans carry may run.
        lean: Whether onnxruntime prefers little memory on the CPU to speed.
    """

    provider: Provider = Provider.CPU
    threads: int | None = None
    concurrency: int | None = None
    inference_precision: InferencePrecision = InferencePrecision.F32
    cuda_graphs: bool = True
    allow_host_code: bool = False
    lean: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"cannot run on {self.threads} threads", "give 1 or more")
        if self.concurrency is not None:
            check_concurrency(self.concurrency)


def open_direct(
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
        profiled: Whether its nodes are to be timed.

    Raises:
        ArtefactError: A plan is not for this machine.
        MissingDependency: The library, driver or provider is not there.
        RunnerError: It cannot be opened.
    """
    if artefact.manifest.kind is Kind.PLAN:
        from hrvit_deploy.runners.tensorrt_ import TensorRTRunner

        return TensorRTRunner(
            artefact,
            allow_host_code=options.allow_host_code,
            concurrency=options.concurrency,
            # A graph's layers cannot be told apart.
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
        # It moves an E4M3 DequantizeLinear past a Transpose that takes no E4M3.
        optimize=artefact.manifest.precision is not Precision.FP8,
        profiled=profiled,
        lean=options.lean,
    )
