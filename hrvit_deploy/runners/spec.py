"""Describes what to run and how, as plain values that are checked on any machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from hrvit_deploy.artefact import Artefact, Kind, Preparation
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import InputFormat
from hrvit_deploy.runners.pool import check_concurrency


class Provider(StrEnum):
    """The runtime of a graph: an execution provider of onnxruntime, or OpenVINO itself.

    For plans and for PyTorch, it selects the device.
    """

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return "cpu" if self in (Provider.CPU, Provider.OPENVINO) else "cuda"


class InferencePrecision(StrEnum):
    """The precision of OpenVINO's floating-point products: float32, or the device's choice."""

    F32 = "f32"
    DEVICE = "device"


class Implementation(StrEnum):
    """What computes the network: the artefact, or PyTorch with the network it came from."""

    ARTEFACT = "artefact"
    EAGER = "eager"
    COMPILE = "compile"


@dataclass(frozen=True)
class RunOptions:
    """Options of running a network.

    Attributes:
        provider: The runtime of a graph; a plan has only one.
        implementation: The artefact's own file, or the network it came from in PyTorch.
        threads: CPU threads; None for one per physical core this process may use.
        concurrency: The most runs at the same time; None for the number that gives one
            caller the shortest latency: one in OpenVINO, two for a plan, any number in
            onnxruntime.
        inference_precision: The precision of OpenVINO's products; no other provider has it.
        checkpoint: Weights for PyTorch; empty for those the artefact's sidecar names.
        cuda_graphs: Whether plans capture repeated runs as CUDA graphs.
        allow_host_code: Whether the code inside version compatible plans may run.
        save_memory: Whether onnxruntime prefers little memory to speed, for runs that nobody
            times.
        round_tensors: Whether every tensor of a float16 graph is rounded to float16 where
            onnxruntime would compute in float32 on a CPU: exact, and slower.
    """

    provider: Provider = Provider.CPU
    implementation: Implementation = Implementation.ARTEFACT
    threads: int | None = None
    concurrency: int | None = None
    inference_precision: InferencePrecision = InferencePrecision.F32
    checkpoint: str = ""
    cuda_graphs: bool = True
    allow_host_code: bool = False
    save_memory: bool = False
    round_tensors: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"cannot run on {self.threads} threads", "give 1 or more")
        if self.concurrency is not None:
            check_concurrency(self.concurrency)
        if (
            self.inference_precision is not InferencePrecision.F32
            and self.provider is not Provider.OPENVINO
        ):
            raise UsageError(
                f"--inference-precision {self.inference_precision} is for OpenVINO, not for"
                f" --provider {self.provider}",
                "add --provider openvino",
            )


@dataclass(frozen=True)
class RunnerSpec:
    """An artefact and how it is run: all that opening a runner needs.

    Attributes:
        artefact: The graph or plan; for PyTorch, the one whose network is built.
        options: How it is run.
        batch: Images per run where the artefact has a dynamic batch.
        name: Its name in tables; by default that of its file, or of its implementation in
            PyTorch.
    """

    artefact: Artefact
    options: RunOptions = RunOptions()
    batch: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            stem, by = self.artefact.path.stem, self.options.implementation
            object.__setattr__(self, "name", str(by) if self.in_torch else stem)
        if self.batch < 1:
            raise UsageError(
                f"{self.name} cannot run a batch of {self.batch}", "give 1 or more"
            )

    def with_options(self, **changes: object) -> Self:
        """Return the same spec with some of its options changed."""
        return replace(self, options=replace(self.options, **changes))  # type: ignore[arg-type]

    @property
    def in_torch(self) -> bool:
        """Whether PyTorch runs the network, in place of the artefact's file."""
        return self.options.implementation is not Implementation.ARTEFACT

    @property
    def kind(self) -> str:
        """``onnx`` or ``plan`` where the file is run, else ``eager`` or ``compile``."""
        return str(
            self.options.implementation if self.in_torch else self.artefact.manifest.kind
        )

    @property
    def runs_graph(self) -> bool:
        """Whether an ONNX graph is run."""
        return not self.in_torch and self.artefact.manifest.kind is Kind.ONNX

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``; plans run on no other."""
        plan = not self.in_torch and self.artefact.manifest.kind is Kind.PLAN
        return "cuda" if plan else self.options.provider.device

    @property
    def emulates(self) -> bool:
        """Whether this is onnxruntime on a CPU, where narrow graphs run in float32.

        There, rounding every tensor shows what an accelerator would return. OpenVINO leaves
        such roundings out.
        """
        return self.runs_graph and self.options.provider is Provider.CPU

    @property
    def preparation(self) -> Preparation:
        """The preparation that turns an image into the input.

        PyTorch takes images normalised outside the network, whatever the artefact takes.
        """
        preparation = self.artefact.manifest.preparation
        if self.in_torch:
            return replace(preparation, format=InputFormat.FLOAT_NCHW)
        return preparation

    @property
    def input_dtype(self) -> str:
        """NumPy type of the input; float32 in PyTorch."""
        return "float32" if self.in_torch else self.artefact.manifest.inputs[0].dtype
