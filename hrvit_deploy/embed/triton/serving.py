"""What Triton serves, and how: an artefact and options that were checked to fit it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from hrvit_deploy.artefact import Artefact, Engine, Kind, Manifest, TensorInfo
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import (
    ONNXRUNTIME_OPSET,
    Backend,
    OutputFormat,
    Precision,
    Task,
    join,
)

# Release of the container whose backends this was written against.
RELEASE = "26.07"
DEFAULT_MAX_BATCH = 8
# Every run of OpenVINO's backend computes a full batch, however few images there are.
PADDED_MAX_BATCH = 4
DATA_TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
}


class TritonBackend(StrEnum):
    """The backend of Triton that runs the network."""

    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


class Device(StrEnum):
    """The hardware that the network's instances run on."""

    CPU = "cpu"
    GPU = "gpu"


BACKENDS = {
    Kind.ONNX: (TritonBackend.ONNXRUNTIME, TritonBackend.OPENVINO),
    Kind.PLAN: (TritonBackend.TENSORRT,),
}
DEVICES = {
    TritonBackend.ONNXRUNTIME: (Device.CPU, Device.GPU),
    TritonBackend.OPENVINO: (Device.CPU,),
    TritonBackend.TENSORRT: (Device.GPU,),
}


Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True)
class TritonOptions:
    """How Triton serves an artefact.

    Attributes:
        backend: None for TensorRT's with plans and onnxruntime's with graphs.
        device: None for the first that the backend can use.
        max_batch: Images in one run at most, of a dynamic batch; 0 to let OpenVINO's backend
            run what each client sends; None for the plan's or the backend's default.
        instances: Copies of the network, per GPU on GPUs.
        threads: Threads of each copy on a CPU; 0 for the backend's own choice.
        delay_us: Microseconds that a request may wait for others to share its run.
        release: Release of the Triton container, as ``YY.MM``.
    """

    backend: TritonBackend | None = None
    device: Device | None = None
    max_batch: int | None = None
    instances: int = 1
    threads: int = 0
    delay_us: int = 2000
    release: str = RELEASE

    def __post_init__(self) -> None:
        if self.max_batch is not None and self.max_batch < 0:
            raise UsageError(
                f"there is no batch of {self.max_batch}", "give a whole number from 1"
            )
        if self.instances < 1:
            raise UsageError(f"{self.instances} instances serve nobody", "give 1 or more")
        if self.threads < 0 or self.delay_us < 0:
            raise UsageError("threads and delays are not negative", "give 0 or more")
        if not re.fullmatch(r"\d\d\.\d\d", self.release):
            raise UsageError(
                f"{self.release!r} is not a Triton release", f"write YY.MM, such as {RELEASE}"
            )


@dataclass(frozen=True)
class Serving:
    """All that the configuration files contain.

    Attributes:
        max_batch: Triton's ``max_batch_size``: 0 where shapes include the batch.
        lead: The batch where shapes include it, -1 if it may be any; else empty.
        preferred: Batches worth waiting for.
    """

    name: str
    manifest: Manifest
    backend: TritonBackend
    device: Device
    max_batch: int
    lead: tuple[int, ...]
    preferred: tuple[int, ...]
    options: TritonOptions

    @property
    def task(self) -> Task:
        """Return the task of the network."""
        return self.manifest.network.known_task

    @property
    def postprocesses(self) -> bool:
        """Return whether the outputs need a last step: all but probabilities do."""
        return self.manifest.output_format is not OutputFormat.PROBABILITIES

    def dims(self, *rest: int) -> list[int]:
        """Return a tensor's dimensions in Triton, from those of one image."""
        return [*self.lead, *rest]

    def tensor_dims(self, tensor: TensorInfo) -> list[int]:
        """Return the dimensions in Triton of a tensor of the network."""
        return self.dims(*(int(size) for size in tensor.shape[1:]))

    @property
    def shared_mib(self) -> int:
        """Return the shared memory in MiB that tensors may need to reach the Python steps."""
        elements = sum(
            math.prod(int(size) for size in tensor.shape[1:])
            for tensor in (self.manifest.inputs[0], self.manifest.outputs[0])
        )
        images = self.options.instances * max(self.max_batch, *self.lead, 1) * 2
        needed = 4 * elements * images / 2**20
        return max(256, int(2 ** math.ceil(math.log2(needed))))


def settle(artefact: Artefact, options: TritonOptions) -> Serving:
    """Check that the options fit the artefact, and fill in those left open.

    Raises:
        UsageError: Triton cannot serve it so; the hint names what it can.
    """
    manifest = artefact.manifest
    backend = _chosen(options.backend, BACKENDS[manifest.kind], "--triton-backend", artefact)
    device = _chosen(options.device, DEVICES[backend], "--device", artefact, backend)
    if options.threads and device is Device.GPU:
        raise UsageError(
            "threads are of copies on a CPU, and these run on a GPU", "leave --threads out"
        )
    _check_tensors(artefact)
    if manifest.engine is not None:
        _check_plan(artefact, manifest.engine)
    elif backend is TritonBackend.ONNXRUNTIME:
        _check_graph(artefact, device)
    max_batch, usual = _batch(artefact, backend, options)
    lead: tuple[int, ...] = ()
    if max_batch == 0:
        lead = (manifest.inputs[0].batch or -1,)
    preferred = tuple(size for size in sorted({usual, max_batch}) if size > 1)
    return Serving(
        artefact.path.stem, manifest, backend, device, max_batch, lead, preferred, options
    )


def _chosen(
    requested: Choice | None,
    possible: tuple[Choice, ...],
    option: str,
    artefact: Artefact,
    backend: str = "",
) -> Choice:
    if requested is None:
        return possible[0]
    if requested not in possible:
        what = f"Triton's {backend} backend" if backend else f"a .{artefact.manifest.kind}"
        raise UsageError(
            f"{what} cannot be served with {option} {requested}",
            f"give {option} {join(possible)}, or another artefact than {artefact.path.name}",
        )
    return requested


def _check_tensors(artefact: Artefact) -> None:
    """Refuse tensors that the steps around the network cannot make or read."""
    manifest = artefact.manifest
    for tensor in (manifest.inputs[0], manifest.outputs[0]):
        if tensor.dtype not in DATA_TYPES:
            raise UsageError(
                f"{artefact.path.name} takes or returns {tensor.dtype}, which Triton's Python"
                " backend has no arrays of",
                "export it again without --half-io",
            )
    if len(manifest.preparation.mean) != 3 or manifest.preparation.color != "RGB":
        raise UsageError(
            f"{artefact.path.name} wants other images than three channels of RGB",
            "serve its network with a preparation of your own",
        )


def _check_graph(artefact: Artefact, device: Device) -> None:
    manifest = artefact.manifest
    opset = manifest.graph.opset if manifest.graph else 0
    if opset > ONNXRUNTIME_OPSET:
        raise UsageError(
            f"{artefact.path.name} has opset {opset}, and onnxruntime is known to read up to"
            f" {ONNXRUNTIME_OPSET}",
            f"export it with --opset {ONNXRUNTIME_OPSET}, or take --triton-backend openvino",
        )
    if manifest.float_type is Precision.BF16 and device is Device.CPU:
        raise UsageError(
            f"{artefact.path.name} is bf16, which onnxruntime does not run on a CPU",
            "embed the fp32 graph, or take --triton-backend openvino",
        )


def _check_plan(artefact: Artefact, engine: Engine) -> None:
    if engine.backend != Backend.TENSORRT:
        raise UsageError(
            f"{artefact.path.name} was built by {engine.backend}, and Triton runs TensorRT's",
            "build it with build-trt --backend tensorrt, or embed the graph it was built from",
        )
    if artefact.manifest.options.get("strip_weights"):
        raise UsageError(
            f"{artefact.path.name} was built without its weights",
            "build it again without stripping them",
        )


def _batch(
    artefact: Artefact, backend: TritonBackend, options: TritonOptions
) -> tuple[int, int]:
    """Return the largest batch, 0 where shapes include it, and the usual batch."""
    requested, fixed = options.max_batch, artefact.manifest.inputs[0].batch
    if fixed is not None:
        if requested:
            raise UsageError(
                f"{artefact.path.name} takes batches of {fixed} and no others",
                "leave --max-batch out, or export with --batch dynamic",
            )
        return 0, 0
    if backend is TritonBackend.OPENVINO:
        largest = PADDED_MAX_BATCH if requested is None else requested
        return largest, largest
    if requested == 0:
        raise UsageError(
            f"Triton's {backend} backend batches whatever has a dynamic batch",
            "give --max-batch 1 to run images one by one",
        )
    if artefact.manifest.engine is None:
        largest = requested or DEFAULT_MAX_BATCH
        return largest, largest // 2
    return _profiled(artefact, requested)


def _profiled(artefact: Artefact, requested: int | None) -> tuple[int, int]:
    """Return the largest and the usual batch that a plan was built for."""
    profile = artefact.manifest.options["profile"]
    if profile["min"] > 1:
        raise UsageError(
            f"{artefact.path.name} takes {profile['min']} images at least, and Triton sends"
            " what it has",
            f"build it with --profile 1,{profile['opt']},{profile['max']}",
        )
    if requested is not None and requested > profile["max"]:
        raise UsageError(
            f"{artefact.path.name} takes {profile['max']} images at most, not {requested}",
            f"build it with --profile 1,{profile['opt']},{requested}",
        )
    largest = requested or profile["max"]
    return largest, min(profile["opt"], largest)
