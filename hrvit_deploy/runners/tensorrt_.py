"""TensorRT and TensorRT-RTX plans on an NVIDIA GPU."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.bindings import cuda_, tensorrt_
from hrvit_deploy.bindings.cuda_ import Cuda, Gpu, host_view
from hrvit_deploy.bindings.dtypes import numpy_type, type_name
from hrvit_deploy.bindings.log import Log, listening, logger
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.options import Backend
from hrvit_deploy.runners.device_array import DeviceArray, device_array
from hrvit_deploy.runners.fit import check_library, check_opens
from hrvit_deploy.runners.protocol import Closing, Inputs, NodeTime, Outputs

# TensorRT wants its tensors aligned so; every allocation is, a slice of one may not be.
ALIGNMENT = 256


@dataclass(frozen=True)
class Slot:
    """One input or output: its buffers, large enough for the largest batch.

    Attributes:
        shape: In elements, -1 where it is dynamic.
        largest: The largest shape it takes.
        device: Address of its memory on the GPU.
        host: Address of its pinned host memory.
    """

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    largest: tuple[int, ...]
    device: int
    host: int

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape fits, the batch up to the largest."""
        return len(shape) == len(self.shape) and all(
            0 < size <= most if fixed == -1 else size == fixed
            for size, fixed, most in zip(shape, self.shape, self.largest, strict=True)
        )


class TensorRTRunner(Closing):
    """A plan, opened on the first GPU.

    Inputs are host arrays, or arrays on the GPU that speak ``__cuda_array_interface__``
    (PyCUDA, CuPy, torch), which are read where they lie; with PyCUDA, its context must be
    current when the runner opens and runs. Outputs are host arrays of the caller's own.
    One run at a time: not for use from several threads at once.

    Attributes:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        device: ``cuda``.
        settings: Versions and GPU, for reports.
    """

    _runtime: Any
    _engine: Any
    _context: Any
    _stream: int
    _inputs: list[Slot]
    _outputs: list[Slot]

    def __init__(
        self,
        artefact: Artefact,
        *,
        allow_host_code: bool = False,
        trt: ModuleType | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        """Check that the plan fits this machine, then open it.

        Args:
            artefact: A plan.
            allow_host_code: Run the code a version compatible plan carries; only for
                plans one trusts.
            trt: The backend's module; loaded if not given.
            cuda: The CUDA runtime; loaded if not given.

        Raises:
            ArtefactError: The plan is for another TensorRT version or another GPU, or has
                no weights.
            MissingDependency: TensorRT or cuda-python is not installed.
            RunnerError: No GPU, or the plan cannot be opened.
        """
        built = check_opens(artefact, allow_host_code=allow_host_code)
        self.name = built.backend
        self.device = "cuda"
        self._trt = trt if trt is not None else tensorrt_.load(Backend(built.backend))
        self._cuda = cuda if cuda is not None else Cuda()
        version = tensorrt_.version_of(self._trt)
        gpu = cuda_.describe(self._cuda)
        check_library(artefact, version, gpu)
        self.settings: dict[str, Any] = settings(artefact, version, gpu)
        with listening(self._trt) as log, ExitStack() as opening:
            self._open(artefact, opening, log, allow_host_code=allow_host_code)
            self._owned = opening.pop_all()

    def run(self, inputs: Inputs) -> Outputs:
        """One batch through the plan.

        Args:
            inputs: Input name to host or device array.

        Raises:
            RunnerError: Closed, the inputs do not fit, or the GPU failed.
        """
        if self._context is None:
            raise RunnerError(f"{self.name} runner is closed", "open another one")
        self._check_names(inputs)
        with listening(self._trt) as log:
            for slot in self._inputs:
                self._feed(slot, inputs[slot.name], log)
            shapes = [self._bind_output(slot, log) for slot in self._outputs]
            if not self._context.execute_async_v3(self._stream):
                raise _failed("could not run the plan", log)
            for slot, shape in zip(self._outputs, shapes, strict=True):
                nbytes = prod(shape) * slot.dtype.itemsize
                self._cuda.copy(slot.host, slot.device, nbytes, self._stream)
            self._cuda.synchronize(self._stream)
        return {
            # The pinned memory is written again by the next run: hand out a copy.
            slot.name: host_view(slot.host, slot.dtype, shape).copy()
            for slot, shape in zip(self._outputs, shapes, strict=True)
        }

    def node_times(self, inputs: Inputs, runs: int) -> list[NodeTime]:
        """Run so often, and tell what each layer took."""
        if self._context is None:
            raise RunnerError(f"{self.name} runner is closed", "open another one")
        total_ms: dict[str, float] = {}

        class Watch(self._trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()

            def report_layer_time(self, name: str, time_ms: float) -> None:
                total_ms[name] = total_ms.get(name, 0.0) + time_ms

        watch = Watch()
        self._context.profiler = watch
        try:
            for _ in range(runs):
                self.run(inputs)
        finally:
            self._context.profiler = None
        return [NodeTime(name, "", time_ms / runs) for name, time_ms in total_ms.items()]

    def close(self) -> None:
        """Give memory, stream and engine back; closing twice is harmless."""
        self._context = None
        self._engine = None
        self._runtime = None
        self._owned.close()

    def _open(
        self, artefact: Artefact, owned: ExitStack, log: Log, *, allow_host_code: bool
    ) -> None:
        self._runtime = self._trt.Runtime(logger(self._trt))
        self._runtime.engine_host_code_allowed = allow_host_code
        self._engine = self._runtime.deserialize_cuda_engine(artefact.path.read_bytes())
        if self._engine is None:
            raise _failed(f"cannot open {artefact.path}", log)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise _failed(f"cannot make room to run {artefact.path}", log)
        self._stream = self._cuda.stream()
        owned.callback(self._cuda.destroy_stream, self._stream)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        # Inputs first: the largest outputs follow from the largest inputs.
        self._inputs = [self._slot(n, owned, log) for n in names if self._is_input(n)]
        self._outputs = [self._slot(n, owned, log) for n in names if not self._is_input(n)]

    def _is_input(self, name: str) -> bool:
        return bool(self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT)

    def _slot(self, name: str, owned: ExitStack, log: Log) -> Slot:
        is_input = self._is_input(name)
        shape = tuple(self._engine.get_tensor_shape(name))
        largest = shape
        if is_input and -1 in shape:
            _, _, most = self._engine.get_tensor_profile_shape(name, 0)
            largest = tuple(most)
            if not self._context.set_input_shape(name, largest):
                raise _failed(f"input {name} does not take its own profile's {largest}", log)
        elif not is_input:
            largest = tuple(self._context.get_tensor_shape(name))
        dtype = numpy_type(type_name(self._trt, self._engine.get_tensor_dtype(name)))
        nbytes = prod(largest) * dtype.itemsize
        device = self._cuda.malloc(nbytes)
        owned.callback(self._cuda.free, device)
        host = self._cuda.malloc_host(nbytes)
        owned.callback(self._cuda.free_host, host)
        return Slot(name, is_input, dtype, shape, largest, device, host)

    def _check_names(self, inputs: Inputs) -> None:
        expected = {slot.name for slot in self._inputs}
        if set(inputs) != expected:
            raise RunnerError(
                f"the plan takes {_listed(expected)}, not {_listed(set(inputs))}",
                "hrvit-deploy inspect shows the names",
            )

    def _feed(self, slot: Slot, value: Any, log: Log) -> None:
        """Check one input and have the plan read it."""
        on_device = device_array(slot.name, value)
        shape, dtype = _signature(value if on_device is None else on_device)
        if not slot.takes(shape) or dtype != slot.dtype:
            raise RunnerError(
                f"input {slot.name} is {dtype} {shape}, the plan takes {slot.dtype}"
                f" {slot.shape}" + (f" up to {slot.largest}" if -1 in slot.shape else ""),
                "prepare it as the sidecar says; hrvit-deploy inspect shows it",
            )
        nbytes = prod(shape) * dtype.itemsize
        if on_device is None:
            np.copyto(host_view(slot.host, slot.dtype, shape), value)
            self._cuda.copy(slot.device, slot.host, nbytes, self._stream)
            address = slot.device
        else:
            address = self._borrow(slot, on_device, nbytes)
        if not (
            self._context.set_input_shape(slot.name, shape)
            and self._context.set_tensor_address(slot.name, address)
        ):
            raise _failed(f"input {slot.name} of shape {shape} was refused", log)

    def _borrow(self, slot: Slot, array: DeviceArray, nbytes: int) -> int:
        """The array's own address, once whoever writes it is done."""
        if array.stream is not None:
            self._cuda.synchronize(array.stream)
        if array.address % ALIGNMENT == 0:
            return array.address
        self._cuda.copy(slot.device, array.address, nbytes, self._stream)
        return slot.device

    def _bind_output(self, slot: Slot, log: Log) -> tuple[int, ...]:
        """Have the plan write into the slot; gives the shape it will write."""
        if not self._context.set_tensor_address(slot.name, slot.device):
            raise _failed(f"output {slot.name} was refused", log)
        return tuple(self._context.get_tensor_shape(slot.name))


def settings(artefact: Artefact, version: str, gpu: Gpu) -> dict[str, Any]:
    """What the plan's speed depends on, for reports."""
    return {
        "precision": str(artefact.manifest.precision),
        "version": version,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver,
    }


def _signature(value: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    array: NDArray[Any] | DeviceArray = (
        value if isinstance(value, DeviceArray) else np.asarray(value)
    )
    return tuple(array.shape), array.dtype


def _failed(what: str, log: Log) -> RunnerError:
    reason = log.error_text() or "the library gave no reason"
    return RunnerError(
        f"{what}: {reason}", "build the plan again on this machine with hrvit-deploy build-trt"
    )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
