"""TensorRT and TensorRT-RTX plans on an NVIDIA GPU."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.bindings import cuda_, tensorrt_
from hrvit_deploy.bindings.cuda_ import Cuda, Gpu
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.options import Backend
from hrvit_deploy.runners.pool import Pool
from hrvit_deploy.runners.protocol import Closing, Inputs, NodeTime, Outputs
from hrvit_deploy.runners.tensorrt.compatibility import check_library, check_opens
from hrvit_deploy.runners.tensorrt.cuda_graphs import Capturing
from hrvit_deploy.runners.tensorrt.device_output import DeviceOutput
from hrvit_deploy.runners.tensorrt.engine import Plan
from hrvit_deploy.runners.tensorrt.execution import Execution

# While one run computes, another copies; more than two cost memory and gain little.
CONTEXTS = 2
BY_ITSELF = "as TensorRT-RTX sees fit"


class TensorRTRunner(Closing):
    """A plan opened on the first GPU, which threads may share.

    Inputs are host arrays, or arrays on the GPU that support DLPack or
    ``__cuda_array_interface__`` (torch, CuPy, PyCUDA), which are read in place. With PyCUDA,
    its context must be current when the runner opens and runs. Outputs are host arrays that
    the caller owns, or stay on the GPU.

    Attributes:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        device: ``cuda``.
        settings: Versions and GPU, for reports.
    """

    def __init__(
        self,
        artefact: Artefact,
        *,
        allow_host_code: bool = False,
        concurrency: int | None = None,
        cuda_graphs: bool = True,
        trt: ModuleType | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        """Check that the plan fits this machine, then open it.

        Args:
            artefact: A plan.
            allow_host_code: Whether to run the code that a version compatible plan carries;
                only for plans from a trusted source.
            concurrency: The most runs at the same time, each with memory of its own, which is
                allocated when it is first needed; None for two.
            cuda_graphs: Whether to capture repeated runs as CUDA graphs.
            trt: The backend's module; loaded if not given.
            cuda: The CUDA runtime; loaded if not given.

        Raises:
            ArtefactError: The plan is for another TensorRT version or another GPU, or has
                no weights.
            MissingDependency: TensorRT or cuda-python is not installed.
            RunnerError: There is no GPU, or the plan cannot be opened.
            UsageError: ``concurrency`` is less than one.
        """
        engine_info = check_opens(artefact, allow_host_code=allow_host_code)
        backend = Backend(engine_info.backend)
        self.name, self.device = engine_info.backend, "cuda"
        most = CONTEXTS if concurrency is None else concurrency
        self._pool: Pool[Execution] = Pool(
            self.name, most, self._new_execution, Execution.close
        )
        trt = trt if trt is not None else tensorrt_.load(backend)
        self._cuda = cuda if cuda is not None else Cuda()
        version = tensorrt_.version_of(trt)
        gpu = cuda_.describe(self._cuda)
        check_library(artefact, version, gpu)
        self.settings: dict[str, Any] = settings(artefact, version, gpu) | {"contexts": most}
        by_itself = backend is Backend.TENSORRT_RTX and cuda_graphs
        self._capturing = Capturing(self.settings, on=cuda_graphs and not by_itself)
        if by_itself:
            self.settings["cuda_graphs"] = BY_ITSELF
        self._plan: Plan | None = Plan(
            trt, artefact, backend, allow_host_code=allow_host_code, cuda_graphs=cuda_graphs
        )
        # Make the first now: a plan that cannot run must fail when it is opened.
        with self._pool.borrowed():
            pass

    def run(self, inputs: Inputs) -> Outputs:
        """Run one batch through the plan.

        Args:
            inputs: Input name to host or device array.

        Raises:
            RunnerError: The runner is closed, the inputs do not fit, or the GPU failed.
        """
        with self._pool.borrowed() as execution:
            self._check_names(inputs)
            return execution.run(inputs)

    def run_on_device(self, inputs: Inputs) -> dict[str, DeviceOutput]:
        """Run one batch through the plan; the outputs stay on the GPU, and own their memory.

        Raises:
            RunnerError: As for :meth:`run`.
        """
        with self._pool.borrowed() as execution:
            self._check_names(inputs)
            return execution.run_on_device(inputs)

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run ``runs`` times and return the mean time of each layer, in ms."""
        with self._pool.borrowed() as execution:
            self._check_names(inputs)
            return execution.node_times(inputs, runs)

    def close(self) -> None:
        """Wait for runs in progress, and free all resources; a second call does nothing."""
        self._pool.close()
        self._plan = None

    def _new_execution(self) -> Execution:
        assert self._plan is not None  # the pool is closed before the plan
        return Execution(self._plan, self._cuda, self._capturing)

    def _check_names(self, inputs: Inputs) -> None:
        assert self._plan is not None
        expected = set(self._plan.inputs)
        if set(inputs) != expected:
            raise RunnerError(
                f"the plan takes {_listed(expected)}, not {_listed(set(inputs))}",
                "hrvit-deploy inspect shows the names",
            )


def settings(artefact: Artefact, version: str, gpu: Gpu) -> dict[str, Any]:
    """Return what the plan's speed depends on, for reports."""
    return {
        "precision": str(artefact.manifest.precision),
        "version": version,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver,
    }


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
