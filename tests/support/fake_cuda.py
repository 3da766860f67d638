"""A CUDA runtime in host memory: copies copy, and every allocation is counted.

What is queued runs at once, unless its stream is being captured: then it is kept, and runs
when the graph is launched.
"""

# ruff: noqa: N802, N803, N815 (the names are CUDA's)

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

Work = Callable[[], None]
# Streams being captured, by handle, and what they were given since; of all runtimes, for a
# library that is handed a stream knows no more than that.
_captured: dict[int, list[Work]] = {}
_handles = itertools.count(1000)


def queue(stream: int, work: Work) -> None:
    """What a library does that gives a stream something to do."""
    if stream in _captured:
        _captured[stream].append(work)
    else:
        work()


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class FakeRuntime:
    """Stands in for ``cuda.bindings.runtime``.

    Attributes:
        failing: Call name to the status it answers from now on.
        live: Address to buffer of what was allocated and not freed.
        streams: Handles of streams created and not destroyed.
        synchronized: Handles waited for, in order.
        copied: Bytes copied so far.
        graphs: Handles of graphs made and not destroyed, and what they hold.
        launched: Handles of graphs launched, in order.
    """

    cudaError_t = Error
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread-local")
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)

    def __init__(self, gpus: int = 1, capability: tuple[int, int] = (8, 9)) -> None:
        self.gpus = gpus
        self.capability = capability
        self.failing: dict[str, Error] = {}
        self.live: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.synchronized: list[int] = []
        self.copied = 0
        self.graphs: dict[int, list[Work]] = {}
        self.launched: list[int] = []
        self.last = Error.cudaSuccess

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
        handle = next(_handles)
        self.streams.add(handle)
        return Error.cudaSuccess, handle

    def cudaStreamDestroy(self, stream: int) -> tuple[Error]:
        self.streams.remove(stream)
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        assert stream not in _captured, "nothing waits for a stream that is captured"
        self.synchronized.append(stream)
        return (self.status("cudaStreamSynchronize"),)

    def cudaMemcpyAsync(
        self, target: int, source: int, nbytes: int, kind: int, stream: int
    ) -> tuple[Error]:
        assert kind == self.cudaMemcpyKind.cudaMemcpyDefault
        assert stream in self.streams
        queue(stream, lambda: self._move(target, source, nbytes))
        return (self.status("cudaMemcpyAsync"),)

    def cudaStreamBeginCapture(self, stream: int, mode: str) -> tuple[Error]:
        # Any other would make what other threads do break it.
        assert mode == "thread-local"
        if (status := self.status("cudaStreamBeginCapture")) is Error.cudaSuccess:
            _captured[stream] = []
        return (self._remembered(status),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Error, int | None]:
        works = _captured.pop(stream)
        status = self._remembered(self.status("cudaStreamEndCapture"))
        return status, self._graph(works) if status is Error.cudaSuccess else None

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Error, int | None]:
        status = self._remembered(self.status("cudaGraphInstantiate"))
        works = self.graphs[graph]
        return status, self._graph(works) if status is Error.cudaSuccess else None

    def cudaGraphDestroy(self, graph: int) -> tuple[Error]:
        del self.graphs[graph]
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graphExec: int) -> tuple[Error]:
        del self.graphs[graphExec]
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graphExec: int, stream: int) -> tuple[Error]:
        assert stream in self.streams
        self.launched.append(graphExec)
        for work in self.graphs[graphExec]:
            queue(stream, work)
        return (self.status("cudaGraphLaunch"),)

    def cudaGetLastError(self) -> tuple[Error]:
        last, self.last = self.last, Error.cudaSuccess
        return (last,)

    def _remembered(self, status: Error) -> Error:
        if status is not Error.cudaSuccess:
            self.last = status
        return status

    def _graph(self, works: list[Work]) -> int:
        handle = next(_handles)
        self.graphs[handle] = works
        return handle

    def _move(self, target: int, source: int, nbytes: int) -> None:
        ctypes.memmove(target, source, nbytes)
        self.copied += nbytes

    def _allocate(self, call: str, nbytes: int) -> tuple[Error, int | None]:
        if self.status(call) is not Error.cudaSuccess:
            return self.status(call), None
        # Aligned to 256 bytes, as CUDA's own are.
        buffer = (ctypes.c_uint8 * (nbytes + 256))()
        address = -(-ctypes.addressof(buffer) // 256) * 256
        self.live[address] = buffer
        return Error.cudaSuccess, address
