"""A CUDA runtime in host memory: copies copy, and every allocation is counted."""

# ruff: noqa: N802, N815 (the names are CUDA's)

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import SimpleNamespace
from typing import Any


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700


class FakeRuntime:
    """Stands in for ``cuda.bindings.runtime``.

    Attributes:
        failing: Call name to the status it answers from now on.
        live: Address to buffer of what was allocated and not freed.
        streams: Handles of streams created and not destroyed.
        synchronized: Handles waited for, in order.
        copied: Bytes copied so far.
    """

    cudaError_t = Error
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)

    def __init__(self, gpus: int = 1, capability: tuple[int, int] = (8, 9)) -> None:
        self.gpus = gpus
        self.capability = capability
        self.failing: dict[str, Error] = {}
        self.live: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.synchronized: list[int] = []
        self.copied = 0

    def status(self, call: str) -> Error:
        return self.failing.get(call, Error.cudaSuccess)

    def cudaGetErrorString(self, status: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, status.name.encode()

    def cudaGetDeviceCount(self) -> tuple[Error, int | None]:
        return self.status("cudaGetDeviceCount"), self.gpus

    def cudaDriverGetVersion(self) -> tuple[Error, int]:
        return Error.cudaSuccess, 13010

    def cudaGetDeviceProperties(self, device: int) -> tuple[Error, Any]:
        major, minor = self.capability
        found = SimpleNamespace(
            name=b"Fake L4", major=major, minor=minor, totalGlobalMem=23 << 30
        )
        return Error.cudaSuccess, found

    def cudaMalloc(self, nbytes: int) -> tuple[Error, int | None]:
        return self._allocate("cudaMalloc", nbytes)

    def cudaMallocHost(self, nbytes: int) -> tuple[Error, int | None]:
        return self._allocate("cudaMallocHost", nbytes)

    def cudaFree(self, address: int) -> tuple[Error]:
        del self.live[address]
        return (self.status("cudaFree"),)

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        del self.live[address]
        return (Error.cudaSuccess,)

    def cudaStreamCreate(self) -> tuple[Error, int]:
        handle = 1000 + len(self.streams)
        self.streams.add(handle)
        return Error.cudaSuccess, handle

    def cudaStreamDestroy(self, stream: int) -> tuple[Error]:
        self.streams.remove(stream)
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        self.synchronized.append(stream)
        return (self.status("cudaStreamSynchronize"),)

    def cudaMemcpyAsync(
        self, target: int, source: int, nbytes: int, kind: int, stream: int
    ) -> tuple[Error]:
        assert kind == self.cudaMemcpyKind.cudaMemcpyDefault
        assert stream in self.streams
        ctypes.memmove(target, source, nbytes)
        self.copied += nbytes
        return (self.status("cudaMemcpyAsync"),)

    def _allocate(self, call: str, nbytes: int) -> tuple[Error, int | None]:
        if self.status(call) is not Error.cudaSuccess:
            return self.status(call), None
        # Aligned to 256 bytes, as CUDA's own are.
        buffer = (ctypes.c_uint8 * (nbytes + 256))()
        address = -(-ctypes.addressof(buffer) // 256) * 256
        self.live[address] = buffer
        return Error.cudaSuccess, address
