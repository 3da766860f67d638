"""A plan opened by its library, which makes execution contexts."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.bindings.dtypes import numpy_type, type_name
from hrvit_deploy.bindings.log import Log, listening, logger
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.options import Backend
from hrvit_deploy.runners.tensorrt.buffers import Shape
from hrvit_deploy.runners.tensorrt.rtx import RtxContexts


class Plan:
    """An engine, which threads may share.

    Attributes:
        trt: The backend's module.
        inputs: Names of the inputs, in the plan's order.
        outputs: Names of the outputs, in the plan's order.
        scratch_bytes: Bytes of GPU memory that a context works in; 0 if contexts allocate
            their own.
        context_per_shape: Whether each shape needs a context of its own.
    """

    trt: ModuleType
    _runtime: Any
    _engine: Any

    def __init__(
        self,
        trt: ModuleType,
        artefact: Artefact,
        backend: Backend,
        *,
        allow_host_code: bool,
        cuda_graphs: bool,
    ) -> None:
        """Read the plan.

        Raises:
            RunnerError: The library cannot open the plan.
        """
        self.trt = trt
        with listening(trt) as log:
            self._runtime = trt.Runtime(logger(trt))
            self._runtime.engine_host_code_allowed = allow_host_code
            self._engine = self._runtime.deserialize_cuda_engine(artefact.path.read_bytes())
            if self._engine is None:
                raise failed(f"cannot open {artefact.path}", log)
        self._path = artefact.path
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.inputs = tuple(name for name in names if self._is_input(name))
        self.outputs = tuple(name for name in names if not self._is_input(name))
        self._rtx: RtxContexts | None = None
        if backend is Backend.TENSORRT_RTX:
            self._rtx = RtxContexts(trt, self._engine, cuda_graphs=cuda_graphs)
        self.context_per_shape = self._rtx is None
        self.scratch_bytes = 0 if self._rtx else int(self._engine.device_memory_size_v2)

    def context(self, scratch: int, log: Log) -> Any:
        """Make a new execution context.

        Args:
            scratch: Address of its ``scratch_bytes``; contexts may share them that do not run
                at the same time.
            log: The library's errors, for the message if it fails.

        Raises:
            RunnerError: The GPU has no room.
        """
        if self._rtx is not None:
            context = self._rtx.make()
        else:
            context = self._engine.create_execution_context(
                self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            )
        if context is None:
            raise failed(f"cannot make room to run {self._path}", log)
        if self.scratch_bytes:
            context.set_device_memory(scratch, self.scratch_bytes)
        return context

    def shape(self, name: str) -> Shape:
        """Return the shape of an input or output in elements, -1 where it is dynamic."""
        return tuple(self._engine.get_tensor_shape(name))

    def largest(self, name: str) -> Shape:
        """Return the largest shape an input takes."""
        shape = self.shape(name)
        if -1 in shape:
            _, _, largest = self._engine.get_tensor_profile_shape(name, 0)
            return tuple(largest)
        return shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of an input or output."""
        return numpy_type(type_name(self.trt, self._engine.get_tensor_dtype(name)))

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT)


def failed(task: str, log: Log) -> RunnerError:
    """Return the error for what the library could not do, with its own reason."""
    reason = log.error_text() or "the library gave no reason"
    return RunnerError(
        f"{task}: {reason}", "build the plan again on this machine with hrvit-deploy build-trt"
    )
