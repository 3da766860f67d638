"""What PyTorch runs besides the package's own eager and compiled networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs
from hrvit_deploy.runners.torch_ import EagerRunner


class FrozenRunner(EagerRunner):
    """A network in TorchScript, traced on its first images and frozen."""

    name = "torchscript"

    def _ready(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        made: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}

        def call(image: Tensor) -> Tensor:
            if image.shape not in made:
                made[image.shape] = self.script(network, image)
            return made[image.shape](image)

        return call

    def script(self, network: nn.Module, image: Tensor) -> torch.jit.ScriptModule:
        with torch.no_grad(), warnings.catch_warnings():
            # That shapes become constants, and that TorchScript is old.
            warnings.simplefilter("ignore")
            traced: Any = torch.jit.trace(network, image, check_trace=False)  # type: ignore[no-untyped-call]
            frozen: torch.jit.ScriptModule = torch.jit.freeze(traced)
        return frozen


class OptimizedRunner(FrozenRunner):
    """The same, its layers packed for this processor."""

    name = "torchscript-optimized"

    def script(self, network: nn.Module, image: Tensor) -> torch.jit.ScriptModule:
        with torch.no_grad():
            return torch.jit.optimize_for_inference(super().script(network, image))


class MatMulRunner(Closing):
    """A matrix times another, again and again."""

    name = "torch"
    device = "cpu"

    def __init__(self, weight: NDArray[Any], times: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self._weight, self._times = torch.from_numpy(weight), times
        self._products = torch.empty_like(self._weight), torch.empty_like(self._weight)
        self.settings: dict[str, Any] = {"threads": threads, "version": torch.__version__}

    def run(self, inputs: Inputs) -> Outputs:
        product = torch.from_numpy(inputs["image"])
        for number in range(self._times):
            product = torch.mm(product, self._weight, out=self._products[number % 2])
        return {"logits": product.numpy()}
