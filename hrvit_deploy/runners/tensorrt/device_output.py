"""Outputs that stay on the GPU."""

from __future__ import annotations

import weakref
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.bindings.cuda_ import Cuda
from hrvit_deploy.runners.tensorrt import dlpack

DEVICE = (dlpack.CUDA, 0)


class DeviceOutput:
    """An array on the GPU that owns its memory, ready to be read on any stream.

    ``torch.from_dlpack``, ``cupy.asarray`` and similar functions read it in place, and keep
    it alive. Its memory is freed when nothing refers to it any more, whether or not the
    runner is closed. Freeing waits for the GPU, so that no queued work still reads it.

    Attributes:
        address: Address of its first element; the array is contiguous in C order.
        shape: In elements.
        dtype: Its NumPy type.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Allocate the memory, uninitialised.

        Raises:
            RunnerError: The GPU has no more memory.
        """
        self.shape, self.dtype = shape, dtype
        self.address = cuda.malloc(self.nbytes)
        self._cuda = cuda
        # At exit the driver frees all memory, and may be unloaded before this runs.
        weakref.finalize(self, cuda.free, self.address).atexit = False

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return DEVICE

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy or dl_device not in (None, DEVICE):
            raise BufferError("it is lent where it lies only; .numpy() copies it to the host")
        return dlpack.give(self, self.address, self.shape, self.dtype, DEVICE)

    def numpy(self) -> NDArray[Any]:
        """Copy the array to the host."""
        host = np.empty(self.shape, self.dtype)
        stream = self._cuda.stream()
        try:
            self._cuda.copy(host.ctypes.data, self.address, self.nbytes, stream)
            self._cuda.synchronize(stream)
        finally:
            self._cuda.destroy_stream(stream)
        return host
