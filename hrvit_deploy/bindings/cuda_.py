"""NVIDIA's GPU through cuda-python: the one module that imports it."""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import MissingDependency, RunnerError

INSTALL = "pip install cuda-python, which hrvit-deploy[gpu] and [rtx] bring"
DRIVER_FILE = Path("/proc/driver/nvidia/version")
MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """The properties of the first GPU that a plan depends on.

    Attributes:
        compute_capability: Such as ``8.9``.
        driver: The driver's version where the system reports it, and the newest CUDA version
            it runs.
        memory_mib: Its memory, in MiB.
    """

    name: str
    compute_capability: str
    driver: str
    memory_mib: int

    def runs(self, capabilities: tuple[str, ...]) -> bool:
        """Return whether the GPU has one of these; ``12.0+`` stands for 12.0 and all later."""
        own = _numbers(self.compute_capability)
        return any(
            own >= _numbers(listed[:-1]) if listed.endswith("+") else own == _numbers(listed)
            for listed in capabilities
        )


@dataclass(frozen=True)
class Survey:
    """The GPU that was found, or the reason why there is none and a hint."""

    gpu: Gpu | None = None
    reason: str = ""
    hint: str = ""


def gpu() -> Gpu | None:
    """Return the first GPU, or None where there is none; :func:`survey` gives the reason."""
    return survey().gpu


def survey() -> Survey:
    """Look for a GPU without raising."""
    try:
        return Survey(gpu=describe(Cuda()))
    except (MissingDependency, RunnerError) as error:
        return Survey(reason=error.message, hint=error.hint)


def describe(cuda: Cuda) -> Gpu:
    """Return name, compute capability, driver and memory of the first GPU.

    Raises:
        RunnerError: There is no driver, or no GPU.
    """
    runtime = cuda.runtime
    if not cuda.checked("count GPUs", runtime.cudaGetDeviceCount()):
        raise RunnerError("the NVIDIA driver finds no GPU", "make one visible to this process")
    properties = cuda.checked("read the GPU's properties", runtime.cudaGetDeviceProperties(0))
    version = cuda.checked("read the driver's version", runtime.cudaDriverGetVersion())
    name = properties.name
    return Gpu(
        name=name.decode() if isinstance(name, bytes) else str(name),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=f"{_kernel_driver()}CUDA {version // 1000}.{version % 1000 // 10}",
        memory_mib=properties.totalGlobalMem // MIB,
    )


class Cuda:
    """The CUDA runtime, with each call checked.

    Attributes:
        runtime: ``cuda.bindings.runtime``, or a stand-in with its calls.
    """

    def __init__(self, runtime: Any = None) -> None:
        self.runtime = runtime if runtime is not None else _runtime()

    def checked(self, task: str, result: tuple[Any, ...]) -> Any:
        """Return the value of a call's ``(status, value)``, or None for a status alone.

        Raises:
            RunnerError: The status is not success.
        """
        status, *values = result
        if status == self.runtime.cudaError_t.cudaSuccess:
            return values[0] if values else None
        _, text = self.runtime.cudaGetErrorString(status)
        text = text.decode() if isinstance(text, bytes) else str(text)
        raise RunnerError(f"CUDA could not {task}: {text}", self._hint(status))

    def malloc(self, nbytes: int) -> int:
        """Allocate ``nbytes`` bytes on the GPU, and return their address."""
        task = f"allocate {nbytes} bytes on the GPU"
        return int(self.checked(task, self.runtime.cudaMalloc(max(nbytes, 1))))

    def free(self, address: int) -> None:
        """Free GPU memory."""
        self.checked("free GPU memory", self.runtime.cudaFree(address))

    def malloc_host(self, nbytes: int) -> int:
        """Allocate pinned host memory, which copies need not stage, and return its address."""
        task = f"pin {nbytes} bytes of host memory"
        return int(self.checked(task, self.runtime.cudaMallocHost(max(nbytes, 1))))

    def free_host(self, address: int) -> None:
        """Free pinned memory."""
        self.checked("free pinned memory", self.runtime.cudaFreeHost(address))

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Queue a copy between any two addresses; CUDA infers which of them are on the GPU."""
        kind = self.runtime.cudaMemcpyKind.cudaMemcpyDefault
        result = self.runtime.cudaMemcpyAsync(target, source, nbytes, kind, stream)
        self.checked(f"copy {nbytes} bytes", result)

    def stream(self) -> int:
        """Create a stream, and return its handle."""
        return int(self.checked("create a stream", self.runtime.cudaStreamCreate()))

    def synchronize(self, stream: int) -> None:
        """Wait for all work queued on the stream."""
        self.checked("finish the work queued", self.runtime.cudaStreamSynchronize(stream))

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self.checked("destroy a stream", self.runtime.cudaStreamDestroy(stream))

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Capture what ``work`` queues on the stream as a graph, without running it.

        Args:
            stream: Handle of the stream.
            work: Queues work on the stream; it may neither wait for the stream nor allocate.

        Returns:
            Handle of the graph, for :meth:`launch` and :meth:`destroy_graph`.

        Raises:
            RunnerError: The work failed, or something in it cannot be captured; the stream can
                be used again.
        """
        try:
            return self._capture(stream, work)
        except BaseException:
            # Otherwise the next call would return this error.
            self.runtime.cudaGetLastError()
            raise

    def launch(self, graph: int, stream: int) -> None:
        """Queue all work of a graph."""
        self.checked("launch a graph", self.runtime.cudaGraphLaunch(graph, stream))

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph."""
        self.checked("destroy a graph", self.runtime.cudaGraphExecDestroy(graph))

    def _capture(self, stream: int, work: Callable[[], None]) -> int:
        runtime = self.runtime
        # Other threads may allocate meanwhile: only this thread's calls are captured.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.checked("begin a capture", runtime.cudaStreamBeginCapture(stream, mode))
        try:
            work()
        except BaseException:
            status, unfinished = runtime.cudaStreamEndCapture(stream)
            if status == runtime.cudaError_t.cudaSuccess:
                runtime.cudaGraphDestroy(unfinished)
            raise
        graph = self.checked("end a capture", runtime.cudaStreamEndCapture(stream))
        try:
            instance = runtime.cudaGraphInstantiate(graph, 0)
            return int(self.checked("make a graph of what was captured", instance))
        finally:
            runtime.cudaGraphDestroy(graph)

    def _hint(self, status: Any) -> str:
        errors = self.runtime.cudaError_t
        if status in (errors.cudaErrorInsufficientDriver, errors.cudaErrorNoDevice):
            return "run on a machine with an NVIDIA GPU and a driver for this CUDA"
        if status == errors.cudaErrorMemoryAllocation:
            return "free GPU memory, or take a smaller batch"
        return "run again with CUDA_LAUNCH_BLOCKING=1 to see which call fails"


def host_view(address: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the host memory at that address as an array, which does not own it."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = (ctypes.c_uint8 * nbytes).from_address(address)
    view: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype)
    return view.reshape(shape)


@functools.cache
def _runtime() -> Any:
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependency(f"cuda-python does not load: {error}", INSTALL) from error


def _kernel_driver() -> str:
    """Return the kernel module's version as ``580.82.07, ``; empty where it is not reported."""
    try:
        match = re.search(r"\s(\d{3}\.[\d.]+)\s", DRIVER_FILE.read_text())
    except OSError:
        return ""
    return f"{match[1]}, " if match else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
