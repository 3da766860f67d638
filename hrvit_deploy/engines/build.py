"""Builds a plan artefact from an ONNX artefact."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from hrvit_deploy.artefact import (
    Artefact,
    Engine,
    Kind,
    Manifest,
    plain,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.bindings import tensorrt_
from hrvit_deploy.bindings.log import Log, listening, one_line
from hrvit_deploy.bindings.tensorrt_ import TITLE
from hrvit_deploy.engines.backends import Choice, choose
from hrvit_deploy.engines.capabilities import runs_on
from hrvit_deploy.engines.config import check_options, configure, fix_sizes
from hrvit_deploy.engines.inspect import check_inspection, inspect_plan
from hrvit_deploy.engines.monitor import Phases, progress_monitor, run_cancellable
from hrvit_deploy.engines.network import Parsed, parse, plain_reason
from hrvit_deploy.engines.timing_cache import cache_name, load_cache, save_cache
from hrvit_deploy.engines.types import TypeCounts, check_precision, count_types
from hrvit_deploy.errors import ArtefactError, BuildError, PrecisionError
from hrvit_deploy.foreign.quantized import quantization_hint
from hrvit_deploy.options import QUANTIZED, Backend, BuildOptions, Precision
from hrvit_deploy.progress import Progress
from hrvit_deploy.staging import staging
from hrvit_deploy.verdict import inherited
from hrvit_deploy.version import VERSION

SHORT = {Backend.TENSORRT: "trt", Backend.TENSORRT_RTX: "rtx"}
# How many of its warnings are reported; they repeat themselves layer by layer.
WARNINGS = 3
# Hints by the words in a builder's error; the empty words match any.
HINTS = {
    "for Turing": "leave compute capability 7.5 out, or build it alone from an fp16 graph",
    "OutOfMemory": "give the builder less with --workspace, or free memory",
    "out of memory": "give the builder less with --workspace, or free memory",
    "": "try another --backend or --optimization-level; if the graph was edited, make it"
    " again with hrvit-deploy export",
}


@dataclass(frozen=True)
class Job:
    """One build: the library, the options, where progress and messages go, and the graph."""

    trt: ModuleType
    choice: Choice
    options: BuildOptions
    progress: Progress
    log: Log
    graph: Path


@dataclass(frozen=True)
class Built:
    """A plan in the builder's memory, and how long the build took, in seconds."""

    plan: Any
    seconds: float


def build_engine(
    onnx: Artefact,
    out_dir: Path,
    options: BuildOptions,
    progress: Progress,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Artefact:
    """Build a TensorRT plan, named after the graph and the backend.

    Types come from the graph alone, and are counted and checked before the build. Ctrl-C
    ends the build at its next step, and no file is written then.

    Args:
        onnx: The graph, in the requested precision.
        out_dir: Folder of the plan and of the kernels' timing cache.
        options: How to build.
        progress: Receives the chosen backend and the builder's phases.
        clock: Returns seconds, for the build's duration.

    Raises:
        MissingDependency: The backend cannot build here.
        UsageError: The backend or the graph does not support an option.
        PrecisionError: The graph is not typed in the requested precision.
        BuildError: The graph was refused, or could not be built.
    """
    check_graph(onnx, options)
    choice = choose(options.backend)
    progress.note(choice.why)
    check_options(options, choice, onnx.manifest.inputs)
    trt = tensorrt_.load(choice.backend)
    target = out_dir / f"{onnx.path.stem}-{SHORT[choice.backend]}.plan"
    with listening(trt) as log, staging(target) as folder:
        job = Job(trt, choice, options, progress, log, onnx.path)
        parsed = parse(trt, onnx.path, log, choice.backend)
        fix_sizes(parsed, onnx.manifest.inputs)
        counts = count_types(trt, parsed.network)
        graph = onnx.manifest.graph
        islands = graph.float32_islands if graph else ()
        quantization = onnx.manifest.quantization
        quantized = max(1, quantization.products if quantization else 1)
        check_precision(counts, options.precision, islands, quantized)
        config = configure(trt, parsed, options, choice)
        cached = options.timing_cache and choice.backend is Backend.TENSORRT
        if cached:
            load_cache(config, out_dir / cache_name(choice), progress)
        built = build_plan(job, parsed, config, clock)
        inspect(job, built)
        if cached:
            save_cache(config, folder / cache_name(choice))
        manifest = write_plan(job, onnx, folder / target.name, built, counts)
    return Artefact(target, manifest)


def check_graph(onnx: Artefact, options: BuildOptions) -> None:
    """Refuse an artefact that is no graph, or a graph of another precision."""
    if onnx.manifest.kind is not Kind.ONNX:
        raise ArtefactError(
            f"{onnx.path} is a {onnx.manifest.kind}, plans are built from ONNX graphs",
            "give a .onnx artefact",
        )
    if onnx.manifest.precision is not options.precision:
        raise PrecisionError(
            f"{options.precision} was asked for, but {onnx.path} is typed"
            f" {onnx.manifest.precision}, and a plan has the types of its graph",
            f"{_command_for(options.precision)}, or ask for {onnx.manifest.precision}",
        )


def _command_for(precision: Precision) -> str:
    """Return the command that makes a graph of that precision, for a hint."""
    if precision in QUANTIZED:
        return f"run hrvit-deploy build-trt --{precision} on the float32 graph"
    return f"run hrvit-deploy export --precision {precision}"


def build_plan(
    job: Job, parsed: Parsed, config: Any, clock: Callable[[], float] = time.perf_counter
) -> Built:
    """Run the builder in a thread of its own, and report its phases as progress.

    Raises:
        BuildError: The builder returned no plan; the message holds its errors.
        KeyboardInterrupt: After Ctrl-C, once the builder has stopped.
    """
    cancelled = threading.Event()
    phases = Phases(job.progress, cancelled)
    config.progress_monitor = progress_monitor(job.trt, phases)
    begun = clock()
    try:
        plan = run_cancellable(
            lambda: parsed.builder.build_serialized_network(parsed.network, config),
            cancelled,
            job.progress,
        )
    finally:
        phases.close()
    if plan is None:
        raise failure(job.log, job.graph)
    for warning in list(dict.fromkeys(map(one_line, job.log.warnings)))[:WARNINGS]:
        job.progress.note(f"{TITLE[job.choice.backend]} warns: {warning}")
    return Built(plan, clock() - begun)


def failure(log: Log, path: Path) -> BuildError:
    """Return the error of a failed build, with the builder's own reason and a hint."""
    reason = plain_reason(log.error_text()) if log.errors else "it gave no reason"
    hint = quantization_hint(path) or next(
        hint for words, hint in HINTS.items() if words in reason
    )
    return BuildError(f"the builder could not build the network: {reason}", hint)


def inspect(job: Job, built: Built) -> None:
    """Check the types of the finished plan, where there is a GPU that can open it.

    Raises:
        PrecisionError: The plan's products are not of the requested type.
    """
    # A plan without weights opens, but reports no layers.
    if job.choice.gpu is None or job.options.strip_weights:
        return
    inspection = inspect_plan(job.trt, built.plan)
    if inspection is None:
        job.progress.note("the plan is not for this GPU: its layers were not inspected")
        return
    check_inspection(inspection, job.options.precision)


def write_plan(
    job: Job, onnx: Artefact, path: Path, built: Built, counts: TypeCounts
) -> Manifest:
    """Write plan and sidecar into the staging folder.

    Raises:
        BuildError: The plan cannot be written.
    """
    try:
        path.write_bytes(memoryview(built.plan))
    except OSError as error:
        raise BuildError(
            f"cannot write {path.name}: {error.strerror}", "make room, or choose another --out"
        ) from error
    choice, options = job.choice, job.options
    engine = Engine(
        backend=choice.backend,
        version=choice.version,
        layers=counts.layers,
        products=counts.product_types,
        weight_bytes=counts.weight_bytes,
        quantized_bytes=counts.quantized_bytes,
        quantized_layers=counts.quantized_layers,
        build_seconds=round(built.seconds, 3),
        compute_capabilities=runs_on(options, choice),
        gpu=choice.gpu.name if choice.gpu else "",
        driver=choice.gpu.driver if choice.gpu else "",
    )
    manifest = replace(
        onnx.manifest,
        kind=Kind.PLAN,
        sha256=sha256_of(path),
        versions={
            **onnx.manifest.versions,
            "hrvit-deploy": VERSION,
            str(choice.backend): choice.version,
        },
        options=plain(options),
        sources=onnx.as_source(),
        graph=None,
        engine=engine,
        parity=None,
        accepted=inherited(onnx.manifest),
    )
    write_sidecar(path, manifest)
    return manifest
