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

# The alignment TensorRT needs, in bytes; every allocation has it, a slice of one may not.
ALIGNMENT = 256

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a plan.

    Attributes:
        shape: In elements, -1 where it is dynamic.
        largest: The largest shape it takes or has.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    largest: Shape

    def takes(self, shape: Shape) -> bool:
        """Return whether an array of that shape fits, with a batch up to the largest."""
        return len(shape) == len(self.shape) and all(
            0 < size <= most if fixed == -1 else size == fixed
            for size, fixed, most in zip(shape, self.shape, self.largest, strict=True)
        )

    def nbytes(self, shape: Shape) -> int:
        """Return the size of an array of that shape, in bytes."""
        return prod(shape) * self.dtype.itemsize


@dataclass(frozen=True)
class BoundInput:
    """One input of one run.

    Attributes:
        buffer: The buffer of the input.
        shape: In elements.
        address: Address on the GPU at which the plan reads it.
        source: Address of the data to copy there first; None if there is nothing to copy.
    """

    buffer: IOBuffer
    shape: Shape
    address: int
    source: int | None


class IOBuffer:
    """The memory of one input or output, large enough for the largest batch.

    Attributes:
        spec: The input or output.
        device: Address of its memory on the GPU.
        host: Address of its pinned host memory.
    """

    def __init__(self, spec: TensorSpec, cuda: Cuda, owned: ExitStack) -> None:
        """Allocate memory on the GPU and the host, which closing ``owned`` frees."""
        self.spec, self._cuda = spec, cuda
        nbytes = spec.nbytes(spec.largest)
        self.device = cuda.malloc(nbytes)
        owned.callback(cuda.free, self.device)
        self.host = cuda.malloc_host(nbytes)
        owned.callback(cuda.free_host, self.host)

    def bind(self, value: Any, stream: int, borrowed: ExitStack) -> BoundInput:
        """Check an array, and return it bound to the address at which the plan reads it.

        Args:
            value: A host array, which is copied into the pinned memory; or an array on the
                GPU, which the plan reads in place if it is aligned.
            stream: Handle of the run's stream.
            borrowed: Releases an array on the GPU when it is closed.

        Raises:
            RunnerError: The array does not fit the input.
        """
        array = device_array(self.spec.name, value, stream)
        if array is not None:
            borrowed.callback(array.release)
            self._check(array.shape, array.dtype)
            return self._bind_device_array(array)
        host = np.asarray(value)
        self._check(host.shape, host.dtype)
        np.copyto(self.view(host.shape), host)
        return BoundInput(self, host.shape, self.device, self.host)

    def view(self, shape: Shape) -> NDArray[Any]:
        """Return the pinned memory as an array, which the next run overwrites."""
        return host_view(self.host, self.spec.dtype, shape)

    def _bind_device_array(self, array: DeviceArray) -> BoundInput:
        if array.stream is not None:
            self._cuda.synchronize(array.stream)
        if array.address % ALIGNMENT:
            return BoundInput(self, array.shape, self.device, array.address)
        return BoundInput(self, array.shape, array.address, None)

    def _check(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        spec = self.spec
        if not spec.takes(shape) or dtype != spec.dtype:
            raise RunnerError(
                f"input {spec.name} is {dtype} {shape}, the plan takes {spec.dtype}"
                f" {spec.shape}" + (f" up to {spec.largest}" if -1 in spec.shape else ""),
                "prepare it as the sidecar says; hrvit-deploy inspect shows it",
            )
