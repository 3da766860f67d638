"""What is to be run, as plain data that crosses to another process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hrvit_deploy.errors import UsageError


class Provider(StrEnum):
    """What runs a graph: an execution provider of onnxruntime, or OpenVINO itself.

    For all but graphs, it says the device.
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
    """What OpenVINO computes floating products in: float32, or as its device likes best."""

    F32 = "f32"
    DEVICE = "device"


class ContenderKind(StrEnum):
    """How it runs: from an artefact, or the network it came from, in PyTorch."""

    ONNX = "onnx"
    PLAN = "plan"
    EAGER = "eager"
    COMPILE = "compile"


@dataclass(frozen=True)
class Contender:
    """One row of a benchmark.

    Attributes:
        name: What the row is called; unique among its contenders.
        kind: How it runs.
        path: The artefact; for PyTorch, one that says which network to build.
        provider: What runs it.
        threads: Of a CPU runner; None for one per physical core this process may use.
        batch: Images per run, for an artefact whose batch is dynamic and for PyTorch.
        checkpoint: Weights for PyTorch; empty for those the artefact's sidecar names.
        rounded: Round every tensor of a float16 graph as the graph says, where
            onnxruntime would compute in float32 on a CPU: true, and slower.
        inference_precision: What OpenVINO computes in; for no other provider.
        lean: Prefer little memory to speed, for answers that nobody times.
    """

    name: str
    kind: ContenderKind
    path: str
    provider: Provider = Provider.CPU
    threads: int | None = None
    batch: int = 1
    checkpoint: str = ""
    rounded: bool = False
    inference_precision: InferencePrecision = InferencePrecision.F32
    lean: bool = False

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``; plans know no other."""
        return "cuda" if self.kind is ContenderKind.PLAN else self.provider.device

    @property
    def emulates(self) -> bool:
        """Whether this is onnxruntime on a CPU, where narrow graphs run in float32.

        Rounding every tensor shows there what an accelerator would return; OpenVINO leaves
        such roundings out.
        """
        return self.kind is ContenderKind.ONNX and self.provider is Provider.CPU

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(
                f"{self.name} cannot run on {self.threads} threads", "give 1 or more"
            )
        if self.batch < 1:
            raise UsageError(
                f"{self.name} cannot run a batch of {self.batch}", "give 1 or more"
            )
        if (
            self.inference_precision is not InferencePrecision.F32
            and self.provider is not Provider.OPENVINO
        ):
            raise UsageError(
                f"--inference-precision {self.inference_precision} is for OpenVINO, and"
                f" {self.name} runs by --provider {self.provider}",
                "add --provider openvino",
            )
