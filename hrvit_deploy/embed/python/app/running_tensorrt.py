"""The model in TensorRT or TensorRT-RTX, on the first GPU."""

from __future__ import annotations

import importlib
import threading
from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import NDArray

# NVIDIA's front ends first; the bare bindings are what PyPI holds whole.
MODULES = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}


class Runtime:
    """One opened model; threads that share it take turns."""

    def __init__(self, model: Path, sidecar: dict[str, Any]) -> None:
        """Open a plan, and allocate memory for its largest batch."""
        trt = load(sidecar["engine"]["backend"], sidecar["engine"]["version"])
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(model.read_bytes())
        if self._engine is None:
            raise RuntimeError(f"{model} does not open on this GPU: build it here again")
        self._context = self._engine.create_execution_context()
        self._input: str = sidecar["inputs"][0]["name"]
        self._output: str = sidecar["outputs"][0]["name"]
        self._dtype = np.dtype(sidecar["outputs"][0]["dtype"])
        self._turn = threading.Lock()
        most = (sidecar["options"].get("profile") or {}).get("max", 1)
        self._owned = ExitStack()
        self._stream = checked(cudart.cudaStreamCreate())
        self._owned.callback(cudart.cudaStreamDestroy, self._stream)
        self._addresses = {
            tensor["name"]: self._allocate(tensor, most)
            for tensor in (sidecar["inputs"][0], sidecar["outputs"][0])
        }

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of a batch of prepared images."""
        batch = np.ascontiguousarray(batch)
        with self._turn:
            if not self._context.set_input_shape(self._input, batch.shape):
                raise ValueError(f"the plan takes no batch of {batch.shape}")
            output = np.empty(tuple(self._context.get_tensor_shape(self._output)), self._dtype)
            source, target = (self._addresses[name] for name in (self._input, self._output))
            self._copy(source, batch.ctypes.data, batch.nbytes)
            self._context.set_tensor_address(self._input, source)
            self._context.set_tensor_address(self._output, target)
            if not self._context.execute_async_v3(self._stream):
                raise RuntimeError("TensorRT could not run the plan; its log says why")
            self._copy(output.ctypes.data, target, output.nbytes)
            checked(cudart.cudaStreamSynchronize(self._stream))
            return output

    def close(self) -> None:
        """Free the memory, the stream and the plan."""
        self._owned.close()
        del self._context, self._engine, self._runtime

    def _allocate(self, tensor: dict[str, Any], most: int) -> int:
        """Allocate GPU memory for an input or output of so many images; return its address."""
        batch, *rest = tensor["shape"]
        images = batch if isinstance(batch, int) else most
        nbytes = images * prod(rest) * np.dtype(tensor["dtype"]).itemsize
        address = int(checked(cudart.cudaMalloc(nbytes)))
        self._owned.callback(cudart.cudaFree, address)
        return address

    def _copy(self, target: int, source: int, nbytes: int) -> None:
        kind = cudart.cudaMemcpyKind.cudaMemcpyDefault
        checked(cudart.cudaMemcpyAsync(target, source, nbytes, kind, self._stream))


def load(backend: str, version: str) -> ModuleType:
    """Import the library that built the plan; plans run in no other version."""
    for name in MODULES[backend]:
        try:
            trt = importlib.import_module(name)
        except ImportError:
            continue
        # A front end may lack the version that its bindings have.
        installed = str(vars(trt).get("__version__", version)).split(".post", 1)[0]
        if installed != version:
            raise RuntimeError(f"the plan is for {backend} {version}, not {installed}")
        return trt
    raise RuntimeError(f"{backend} {version} is not installed: see requirements.txt")


def checked(result: tuple[Any, ...]) -> Any:
    """Return the value of a CUDA call; raise an error if it failed."""
    status, *values = result
    if status != cudart.cudaError_t.cudaSuccess:
        _, text = cudart.cudaGetErrorString(status)
        raise RuntimeError(f"CUDA: {text.decode() if isinstance(text, bytes) else text}")
    return values[0] if values else None
