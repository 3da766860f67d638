"""A TensorRT whose only engine doubles what it is given."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum
from types import ModuleType
from typing import Any

import numpy as np

from hrvit_deploy.bindings.cuda_ import host_view
from support import fake_cuda

SHAPE = (3, 4, 4)
LARGEST = 4


class DataType(Enum):
    FLOAT, HALF, BF16, FP8, INT8, UINT8, INT32, INT64, BOOL = range(9)


class TensorIOMode(Enum):
    NONE, INPUT, OUTPUT = range(3)


class Severity(IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ExecutionContextAllocationStrategy(Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class CudaGraphStrategy(Enum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING
    INFO, VERBOSE = Severity.INFO, Severity.VERBOSE

    def __init__(self) -> None:
        pass


class Logger(ILogger):
    def __init__(self, severity: Severity) -> None:
        self.severity = severity

    def log(self, severity: Severity, msg: str) -> None:
        assert severity >= Severity.INTERNAL_ERROR


NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.UINT8: np.uint8}


class IProfiler:
    """Told of layers after each run."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


SCRATCH = 512


class RuntimeConfig:
    """Of TensorRT-RTX."""

    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    cache: Any = None

    def create_runtime_cache(self) -> object:
        return object()

    def set_runtime_cache(self, cache: object) -> bool:
        self.cache = cache
        return True


class Context:
    profiler: IProfiler | None = None

    def __init__(self, engine: Engine, strategy: Any) -> None:
        self.engine = engine
        self.strategy = strategy
        self.shape: tuple[int, ...] = engine.shape
        self.shapes: list[tuple[int, ...]] = []
        self.addresses: dict[str, int] = {}
        self.borrowed: list[int] = []
        self.scratch = 0
        self.running = False

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0
        assert size >= self.engine.device_memory_size_v2
        self.scratch = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        self.shapes.append(self.shape)
        return name == "images" and not self.engine.refuses_shapes

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.engine.fails:
            self.engine.logger.log(Severity.VERBOSE, "chatter")
            self.engine.logger.log(Severity.ERROR, "the GPU is on fire")
            return False
        if self.strategy is ExecutionContextAllocationStrategy.USER_MANAGED:
            assert self.scratch, "no memory to work in"
        self.borrowed.append(self.addresses["images"])
        addresses, shape = dict(self.addresses), self.shape
        fake_cuda.queue(stream, lambda: self._double(addresses, shape))
        if self.profiler is not None:
            self.profiler.report_layer_time("double", 2.0)
        return True

    def _double(self, addresses: dict[str, int], shape: tuple[int, ...]) -> None:
        assert not self.running, "a context runs once at a time"
        assert shape == self.shapes[-1] or not self.shapes, "a graph outlived its shape"
        self.running = True
        kind = np.dtype(NUMPY[self.engine.dtype])
        images = host_view(addresses["images"], kind, shape)
        self.engine.pause()
        host_view(addresses["logits"], kind, shape)[...] = images * 2
        self.running = False


class Engine:
    num_io_tensors = 2
    device_memory_size_v2 = SCRATCH

    def __init__(self, plan: bytes, logger: Any) -> None:
        self.logger = logger
        self.shape = (-1 if b"dynamic" in plan else 2, *SHAPE)
        self.dtype = DataType.HALF if b"half" in plan else DataType.FLOAT
        self.fails = b"fails" in plan
        self.refuses_shapes = b"refuses" in plan
        self.cramped = b"cramped" in plan
        self.contexts: list[Context] = []
        # What a run takes, beyond no time.
        self.pause: Callable[[], None] = lambda: None

    def create_execution_context(self, strategy: Any = None) -> Context | None:
        if self.cramped:
            return None
        self.contexts.append(Context(self, strategy))
        return self.contexts[-1]

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def get_tensor_name(self, index: int) -> str:
        return ("logits", "images")[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "images" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.dtype

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(batch, *SHAPE) for batch in (1, 2, LARGEST)]


class Runtime:
    last: Engine | None = None

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if b"broken" in plan:
            self.logger.log(Severity.ERROR, "magic tag does not match")
            return None
        Runtime.last = Engine(plan, self.logger)
        return Runtime.last


def fake_tensorrt(version: str = "10.16.1.11") -> Any:
    """A fresh stand-in for the ``tensorrt`` module."""
    module: Any = ModuleType("fake_tensorrt_module")
    module.__version__ = version
    module.Logger = Logger
    module.ILogger, module.IProfiler, module.Runtime = ILogger, IProfiler, Runtime
    module.DataType, module.TensorIOMode = DataType, TensorIOMode
    module.ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    module.CudaGraphStrategy = CudaGraphStrategy
    return module
