"""The buffers of a plan's inputs and outputs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.bindings.cuda_ import Cuda, host_view
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.runners.tensorrt.device_array import DeviceArray, device_array

# TensorRT wants its tensors aligned so; every allocation is, a slice of one may not be.
ALIGNMENT = 256

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a plan.

    Attributes:
        shape: In elements, -1 where it is dynamic.
        largest: The largest shape it takes, or returns.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    largest: Shape

    def takes(self, shape: Shape) -> bool:
        """Whether an array of that shape fits, the batch up to the largest."""
        return len(shape) == len(self.shape) and all(
            0 < size <= most if fixed == -1 else size == fixed
            for size, fixed, most in zip(shape, self.shape, self.largest, strict=True)
        )

    def nbytes(self, shape: Shape) -> int:
        """Bytes of an array of that shape."""
        return prod(shape) * self.dtype.itemsize


@dataclass(frozen=True)
class BoundInput:
    """One input of one run.

    Attributes:
        shape: In elements.
        address: Where on the GPU the plan reads it.
        source: What is copied there first; None for nothing.
    """

    slot: IOBuffer
    shape: Shape
    address: int
    source: int | None


class IOBuffer:
    """A port's memory, large enough for the largest batch.

    Attributes:
        device: Address of its memory on the GPU.
        host: Address of its pinned host memory.
    """

    def __init__(self, port: TensorSpec, cuda: Cuda, owned: ExitStack) -> None:
        """Allocate both, until ``owned`` is closed."""
        self.port, self._cuda = port, cuda
        nbytes = port.nbytes(port.largest)
        self.device = cuda.malloc(nbytes)
        owned.callback(cuda.free, self.device)
        self.host = cuda.malloc_host(nbytes)
        owned.callback(cuda.free_host, self.host)

    def feed(self, value: Any, stream: int, borrowed: ExitStack) -> BoundInput:
        """Check an input, and say where the plan finds it.

        Args:
            value: A host array, which is written into the pinned memory; or one on the
                GPU, which is read where it lies if it is aligned.
            stream: The run's.
            borrowed: Gives the array back when it is closed.

        Raises:
            RunnerError: It does not fit.
        """
        array = device_array(self.port.name, value, stream)
        if array is not None:
            borrowed.callback(array.release)
            self._check(array.shape, array.dtype)
            return self._lent(array)
        host = np.asarray(value)
        self._check(host.shape, host.dtype)
        np.copyto(self.view(host.shape), host)
        return BoundInput(self, host.shape, self.device, self.host)

    def view(self, shape: Shape) -> NDArray[Any]:
        """The pinned memory as an array, which the next run writes over."""
        return host_view(self.host, self.port.dtype, shape)

    def _lent(self, array: DeviceArray) -> BoundInput:
        if array.stream is not None:
            self._cuda.synchronize(array.stream)
        if array.address % ALIGNMENT:
            return BoundInput(self, array.shape, self.device, array.address)
        return BoundInput(self, array.shape, array.address, None)

    def _check(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        port = self.port
        if not port.takes(shape) or dtype != port.dtype:
            raise RunnerError(
                f"input {port.name} is {dtype} {shape}, the plan takes {port.dtype}"
                f" {port.shape}" + (f" up to {port.largest}" if -1 in port.shape else ""),
                "prepare it as the sidecar says; hrvit-deploy inspect shows it",
            )
