"""TensorRT and TensorRT-RTX: plans built here or brought, in PyTorch's stream."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.candidates import BACKENDS, Job
from benchmarks.gpu.runtimes.torch_ import Capture
from hrvit_deploy.artefact import Artefact, Engine, open_artefact, sidecar_of
from hrvit_deploy.bindings import tensorrt_
from hrvit_deploy.bindings.dtypes import type_name
from hrvit_deploy.bindings.log import listening, logger
from hrvit_deploy.bindings.tensorrt_ import TITLE
from hrvit_deploy.engines import build as building
from hrvit_deploy.engines.backends import choose
from hrvit_deploy.engines.config import configure
from hrvit_deploy.engines.network import parse
from hrvit_deploy.engines.types import check_precision, count_types
from hrvit_deploy.errors import HrvitDeployError, RunnerError
from hrvit_deploy.options import Backend, BuildOptions
from hrvit_deploy.progress import SilentProgress

TORCH_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
}


@dataclass(frozen=True)
class Plan:
    """A plan's file, and what is known of how it came about."""

    path: Path
    about: dict[str, Any]


class PlanLaunch:
    """A plan that reads and writes tensors where they lie."""

    def __init__(
        self, trt: ModuleType, plan: Plan, image: Tensor, *, captured: bool = False
    ) -> None:
        """Open a plan, whatever GPU it says it is for: whether it runs is the question.

        Args:
            trt: The backend's module.
            plan: With one input and one output.
            image: What it reads.
            captured: Whether its work is captured in a CUDA graph.

        Raises:
            RunnerError: In the library's own words.
        """
        self._trt, self.image = trt, image
        with ExitStack() as opening:
            # As long as it is open: listening anew at each run would be timed.
            self._log = opening.enter_context(listening(trt))
            runtime = trt.Runtime(logger(trt))
            self._engine = runtime.deserialize_cuda_engine(plan.path.read_bytes())
            if self._engine is None:
                raise self._failed("could not deserialise the plan")
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise self._failed("could not make room to run the plan")
            self._runtime = runtime
            self.answer = self._bind()
            self._captured = Capture(self._queue) if captured else None
            self._opened = opening.pop_all()
        self.settings: dict[str, Any] = {**plan.about, "cuda_graph": captured}

    def launch(self) -> None:
        if self._captured is not None:
            self._captured.replay()
            return
        self._queue()

    def close(self) -> None:
        self._captured = None
        self._context = self._engine = self._runtime = None
        self._opened.close()

    def _queue(self) -> None:
        stream = torch.cuda.current_stream().cuda_stream if self.image.is_cuda else 0
        if not self._context.execute_async_v3(stream):
            raise self._failed("could not run the plan")

    def _bind(self) -> Tensor:
        """Have the plan read the image, and write into a tensor of its own."""
        answer: Tensor | None = None
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            shape = tuple(self._engine.get_tensor_shape(name))
            dtype = TORCH_TYPES[type_name(self._trt, self._engine.get_tensor_dtype(name))]
            if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT:
                held = self.image
                if (shape, dtype) != (tuple(held.shape), held.dtype):
                    raise RunnerError(
                        f"the plan takes {dtype} {shape}, not {held.dtype} {tuple(held.shape)}",
                        "remove the folder of --work, and build it again",
                    )
                if not self._context.set_input_shape(name, shape):
                    raise self._failed(f"refused the shape {shape}")
            else:
                held = answer = torch.empty(shape, dtype=dtype, device=self.image.device)
            if not self._context.set_tensor_address(name, held.data_ptr()):
                raise self._failed(f"refused the address of {name}")
        assert answer is not None
        return answer

    def _failed(self, what: str) -> RunnerError:
        words = self._log.error_text() or "it gave no reason"
        return RunnerError(f"{self._trt.__name__} {what}: {words}", "build it on this machine")


def open_plan(job: Job, image: Tensor) -> PlanLaunch:
    """The job's plan, built unless it is there, ready to run on that image."""
    backend = BACKENDS[job.entry.runtime]
    trt = tensorrt_.load(backend)
    return PlanLaunch(trt, find_plan(job, trt), image, captured=job.entry.captured)


def find_plan(job: Job, trt: ModuleType) -> Plan:
    """The plan brought along, the one built here before, or one built now."""
    backend = BACKENDS[job.entry.runtime]
    version = tensorrt_.version_of(trt)
    if job.plan and not job.current:
        about = _about(open_artefact(Path(job.plan)))
        # A plan runs in the version that built it, and in no other.
        if about["version"] == version:
            return Plan(Path(job.plan), {**about, "built": "before"})
    # One of another GPU lies in a folder of its own.
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    kind = "current" if job.current else "default"
    folder = Path(job.work) / "plans" / f"{backend}-{version}-{gpu.replace(' ', '-')}-{kind}"
    graph = open_artefact(Path(job.graph))
    options = BuildOptions(graph.manifest.precision, backend)
    if job.current:
        return build_for_this_gpu(graph, folder, options)
    path = folder / f"{graph.path.stem}-{building.SHORT[backend]}.plan"
    held = held_plan(path, graph)
    made = held or building.build_engine(graph, folder, options, SilentProgress())
    return Plan(path, {**_about(made), "built": "before" if held else "now"})


def held_plan(path: Path, graph: Artefact) -> Artefact | None:
    """A plan at that path that was built from that graph; None if there is none."""
    if not (path.is_file() and sidecar_of(path).is_file()):
        return None
    try:
        held = open_artefact(path)
    except HrvitDeployError:
        return None
    sources = held.manifest.sources
    return held if sources and sources[0].sha256 == graph.manifest.sha256 else None


def build_for_this_gpu(graph: Artefact, folder: Path, options: BuildOptions) -> Plan:
    """A TensorRT-RTX plan for the GPU at hand, whether or not it is among its usual ones.

    Raises:
        HrvitDeployError: It cannot be built; in the library's own words.
    """
    backend = Backend.TENSORRT_RTX
    choice = choose(backend)
    trt = tensorrt_.load(backend)
    path = folder / f"{graph.path.stem}-{graph.manifest.sha256[:12]}.plan"
    about = {"version": choice.version, "compute_capabilities": ["current"]}
    if path.exists():
        return Plan(path, {**about, "built": "before"})
    started = time.perf_counter()
    with listening(trt) as log:
        job = building.Job(trt, choice, options, SilentProgress(), log, graph.path)
        parsed = parse(trt, graph.path, log, backend)
        quantization = graph.manifest.quantization
        islands = graph.manifest.graph.float32_islands if graph.manifest.graph else ()
        products = max(1, quantization.products if quantization else 1)
        check_precision(count_types(trt, parsed.network), options.precision, islands, products)
        config = configure(trt, parsed, options, choice)
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
        plan = building.build_plan(job, parsed, config).plan
    folder.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".part")
    staged.write_bytes(memoryview(plan))
    staged.replace(path)
    return Plan(path, {**about, "built": "now", "build_s": time.perf_counter() - started})


def _about(plan: Artefact) -> dict[str, Any]:
    engine: Engine | None = plan.manifest.engine
    assert engine is not None
    return {
        "backend": TITLE[Backend(engine.backend)],
        "version": engine.version,
        "compute_capabilities": list(engine.compute_capabilities),
        "layers": engine.layers,
        "products": engine.products,
        "build_s": engine.build_seconds,
        "plan_bytes": plan.path.stat().st_size,
    }
