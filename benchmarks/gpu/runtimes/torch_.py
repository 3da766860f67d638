"""What PyTorch itself runs: eager, captured in a CUDA graph, and compiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.forms import Form
from benchmarks.gpu.candidates import CUDA, FP16, FP32, Entry, Job, Runtime
from hrvit_deploy import trained
from hrvit_deploy.deploy.form import choose, deploy
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.options import ImageSize, Precision

MIB = 1 << 20
# Runs before a capture, which must not be the first to need memory or a cuDNN plan.
BEFORE_CAPTURE = 3


class Eager:
    """A network in eager PyTorch, in float32 or under autocast to float16."""

    def __init__(self, network: nn.Module, image: Tensor, precision: Precision) -> None:
        """Move the network to where the image lies.

        Args:
            network: Maps prepared images to logits.
            image: ``B x 3 x H x W`` float32, on the device.
            precision: FP32, without TF32, or FP16.
        """
        float32_is_float32()
        self._autocast = autocast(image, precision)
        self.image, self.answer = image, torch.empty(0)
        self._call: Callable[[Tensor], Tensor] | None = self._ready(
            network.eval().to(image.device)
        )
        self.settings: dict[str, Any] = {
            "version": torch.__version__,
            "autocast": precision is FP16,
            "tf32": False,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
        }

    def _ready(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        return network

    def launch(self) -> None:
        assert self._call is not None
        with torch.inference_mode(), self._autocast():
            self.answer = self._call(self.image)

    def close(self) -> None:
        self._call = None


class Compiled(Eager):
    """The same, compiled by Inductor, which tries kernels and captures them by itself."""

    def _ready(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        compiled: Callable[[Tensor], Tensor] = torch.compile(
            network, mode="max-autotune", dynamic=False
        )
        return compiled

    def launch(self) -> None:
        # The last answer may be overwritten: without this it would be kept, at a cost.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        super().launch()


class CapturedNetwork(Eager):
    """The same as eager, its kernels captured once and replayed."""

    def __init__(self, network: nn.Module, image: Tensor, precision: Precision) -> None:
        super().__init__(network, image, precision)
        # Weights cast outside the capture would be gone when it is replayed.
        self._autocast = autocast(image, precision, keeps_weights=False)
        self._captured = Capture(super().launch)
        self.settings["cuda_graph"] = True

    def launch(self) -> None:
        self._captured.replay()


class Capture:
    """Work that was queued once and is queued again as a whole."""

    def __init__(self, launch: Callable[[], None]) -> None:
        """Capture what a call puts into the current stream.

        Raises:
            RunnerError: There is no CUDA, or the work cannot be captured.
        """
        if not torch.cuda.is_available():
            raise RunnerError(*no_cuda())
        for _ in range(BEFORE_CAPTURE):
            launch()
        torch.cuda.current_stream().synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream()):
            launch()

    def replay(self) -> None:
        self._graph.replay()


RUNNERS = {
    Runtime.EAGER: Eager,
    Runtime.COMPILE: Compiled,
    Runtime.CUDA_GRAPH: CapturedNetwork,
}


def open_network(job: Job, image: Tensor) -> Eager:
    """The network as trained, or its deploy form, ready to run on that image."""
    network = network_of(job.entry, job)
    return RUNNERS[job.entry.runtime](network, image, job.entry.precision)


def network_of(entry: Entry, job: Job) -> nn.Module:
    network: nn.Module = trained.load(job.network).network
    if entry.form is Form.TRAINED:
        return network
    rewrites = choose(target=entry.target)
    return deploy(network, ImageSize(*job.size), rewrites).network


def autocast(
    image: Tensor, precision: Precision, *, keeps_weights: bool = True
) -> Callable[[], AbstractContextManager[Any]]:
    """How to enter the precision for one run."""
    if precision is FP32:
        return nullcontext
    kind = image.device.type
    return lambda: torch.autocast(kind, torch.float16, cache_enabled=keeps_weights)


def float32_is_float32() -> None:
    """No TF32 anywhere; cuDNN tries its convolutions and takes the fastest."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def no_cuda() -> tuple[str, str]:
    """What to say where PyTorch sees no GPU."""
    return (
        f"PyTorch {torch.__version__} sees no CUDA device",
        "run on a machine with an NVIDIA GPU, and a CUDA build of PyTorch",
    )


def allocated_mib(device: str) -> float | None:
    """Most that PyTorch's tensors took of the device's memory so far; None on a CPU."""
    return torch.cuda.max_memory_allocated() / MIB if device == CUDA else None
