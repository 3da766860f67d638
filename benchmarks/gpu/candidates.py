"""The candidates on a GPU, in the order they are timed, and what crosses to their processes.

Imports nothing heavy: each process imports the one library it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from benchmarks.common.forms import Form
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import Backend, Precision, Target
from hrvit_deploy.runners.spec import Provider

FP32, FP16, INT8, FP8 = Precision.FP32, Precision.FP16, Precision.INT8, Precision.FP8
CUDA, CPU = "cuda", "cpu"
# The four series of a turn, in milliseconds: by the device's clock and by the host's, from
# an input on the device to an answer there; and the same with both copied from and to the
# host's pinned memory.
DEVICE_MS, HOST_MS = "device_ms", "host_ms"
DEVICE_COPIES_MS, HOST_COPIES_MS = "device_copies_ms", "host_copies_ms"
SERIES = (DEVICE_MS, HOST_MS, DEVICE_COPIES_MS, HOST_COPIES_MS)
# The module that Python runs as the process of each.
WORKER = f"{__package__}.worker"


class Runtime(StrEnum):
    """What computes; the last is a stand-in where there is no GPU."""

    EAGER = "eager"
    CUDA_GRAPH = "CUDA graph"
    COMPILE = "torch.compile"
    ORT_CUDA = "onnxruntime CUDA"
    ORT_TENSORRT = "onnxruntime TensorRT"
    TENSORRT = "TensorRT"
    RTX = "TensorRT-RTX"
    TRT8 = "TensorRT 8.5"
    ORT_CPU = "onnxruntime"


# Those that run the network in PyTorch; the others run a graph.
TORCH = (Runtime.EAGER, Runtime.CUDA_GRAPH, Runtime.COMPILE)
PROVIDERS = {
    Runtime.ORT_CUDA: Provider.CUDA,
    Runtime.ORT_TENSORRT: Provider.TENSORRT,
    Runtime.ORT_CPU: Provider.CPU,
}
BACKENDS = {Runtime.TENSORRT: Backend.TENSORRT, Runtime.RTX: Backend.TENSORRT_RTX}
# What the deploy form is laid out for, as by `hrvit-deploy export --for`.
TARGETS = {
    Runtime.ORT_CUDA: Target.ONNXRUNTIME,
    Runtime.ORT_CPU: Target.ONNXRUNTIME,
}


@dataclass(frozen=True)
class Entry:
    """One row of the comparison.

    Attributes:
        captured: Whether an engine's work is captured in a CUDA graph once and replayed.
    """

    form: Form
    runtime: Runtime
    precision: Precision
    captured: bool = False

    @property
    def target(self) -> Target:
        """The runtime that the deploy form is laid out for."""
        return TARGETS.get(self.runtime, Target.TENSORRT)

    @property
    def name(self) -> str:
        """``ours fitted, TensorRT fp16``; of the network as trained, ``eager fp16``."""
        place = f"{self.runtime} {self.precision}"
        place += " in a CUDA graph" if self.captured else ""
        return place if self.form is Form.TRAINED else f"{self.form}, {place}"


def _trained(runtime: Runtime, precision: Precision) -> Entry:
    return Entry(Form.TRAINED, runtime, precision)


def _both(runtime: Runtime, *precisions: Precision) -> tuple[Entry, ...]:
    """The deploy form before the plain graph, one precision after another."""
    return tuple(Entry(form, runtime, precision) for precision in precisions for form in GRAPHS)


GRAPHS = (Form.FITTED, Form.PLAIN)
# What others are held against in every timing group: FP16 as users have it without more ado.
ANCHOR = _trained(Runtime.EAGER, FP16)
REFERENCE = _trained(Runtime.EAGER, FP32)
# The most telling first: what is said of the deploy form rests on these.
TELLING = (
    ANCHOR,
    REFERENCE,
    *_both(Runtime.TENSORRT, FP16),
    _trained(Runtime.COMPILE, FP16),
    Entry(Form.FITTED, Runtime.TENSORRT, INT8),
    Entry(Form.FITTED, Runtime.TENSORRT, FP8),
    *_both(Runtime.RTX, FP16),
    Entry(Form.FITTED, Runtime.RTX, INT8),
    Entry(Form.FITTED, Runtime.RTX, FP8),
    _trained(Runtime.CUDA_GRAPH, FP16),
    Entry(Form.FITTED, Runtime.CUDA_GRAPH, FP16),
)
OTHERS = (
    *_both(Runtime.ORT_TENSORRT, FP16),
    *_both(Runtime.ORT_CUDA, FP16),
    Entry(Form.FITTED, Runtime.COMPILE, FP16),
    Entry(Form.FITTED, Runtime.EAGER, FP16),
    *(replace(entry, captured=True) for entry in _both(Runtime.TENSORRT, FP16)),
    *(replace(entry, captured=True) for entry in _both(Runtime.RTX, FP16)),
    Entry(Form.PLAIN, Runtime.TENSORRT, INT8),
    Entry(Form.PLAIN, Runtime.TENSORRT, FP8),
    Entry(Form.PLAIN, Runtime.RTX, INT8),
    Entry(Form.PLAIN, Runtime.RTX, FP8),
    *_both(Runtime.TENSORRT, FP32),
    *_both(Runtime.ORT_CUDA, FP32),
    _trained(Runtime.CUDA_GRAPH, FP32),
    _trained(Runtime.COMPILE, FP32),
)
ENTRIES = (*TELLING, *OTHERS)
# Only where its libraries are given: the package itself supports no TensorRT 8.
TRT8_ENTRIES = _both(Runtime.TRT8, FP16, INT8, FP32)
# The same code where there is no GPU; these times say nothing of one.
STAND_INS = (
    REFERENCE,
    *_both(Runtime.ORT_CPU, FP32),
    Entry(Form.FITTED, Runtime.ORT_CPU, INT8),
)


def entries_for(device: str, *, trt8: bool = False) -> tuple[Entry, ...]:
    """Everything that competes on a device; the first is what the others are held against."""
    if device == CPU:
        return STAND_INS
    return (*TELLING, *TRT8_ENTRIES, *OTHERS) if trt8 else ENTRIES


@dataclass(frozen=True)
class Job:
    """What a worker is to open.

    Attributes:
        device: ``cuda``, or ``cpu`` for stand-ins.
        network: As trained.
        size: Height and width of the images, in pixels.
        pictures: ``.npy`` of uint8 images, ``N x H x W x 3``, to fill the batch with.
        expected: ``.npy`` of what eager FP32 answers to the first and the last image; empty
            for the one that is to write it.
        answer: Where that one writes its answer; empty for all others.
        book: File that every turn's times are added to, as a line of JSON.
        work: Folder for what is built here.
        graph: Of runtimes that run one.
        plan: A plan of TensorRT-RTX built elsewhere; empty where it is built here.
        current: Whether TensorRT-RTX builds for the GPU at hand instead of its usual ones.
        library: Folder of TensorRT 8.5.
        turn_s: How long a turn's timed runs should take, in seconds.
    """

    entry: Entry
    device: str
    network: NetworkSpec
    size: tuple[int, int]
    batch: int
    pictures: str
    expected: str
    book: str
    work: str
    answer: str = ""
    graph: str = ""
    plan: str = ""
    current: bool = False
    library: str = ""
    turn_s: float = 0.4
