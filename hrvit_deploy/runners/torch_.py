"""PyTorch networks in eager mode, and compiled by Inductor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrvit_deploy.errors import RunnerError, UsageError
from hrvit_deploy.runners.cores import usable_cores
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs

INPUT = "image"


class EagerRunner(Closing):
    """A network in eager PyTorch.

    The runner sets the process's number of CPU threads until it is closed. Where speed is
    measured, only one may be open at a time.
    """

    name = "eager"

    def __init__(
        self,
        network: nn.Module,
        *,
        image: str = INPUT,
        output: str = "logits",
        others: tuple[str, ...] = (),
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        """Move the network to the device and put it into evaluation mode.

        Args:
            network: Maps one tensor, the prepared images, to one tensor or several.
            image: The name of its input.
            output: The name of its output, or of the first.
            others: The names of its further outputs.
            device: ``cpu`` or ``cuda``.
            threads: Threads on the CPU; None for one per usable physical core.

        Raises:
            RunnerError: There is no such device.
            UsageError: ``threads`` is less than one.
        """
        if threads is not None and threads < 1:
            raise UsageError(f"cannot run on {threads} threads", "give 1 or more")
        if device == "cuda" and not torch.cuda.is_available():
            raise RunnerError(
                f"PyTorch {torch.__version__} sees no CUDA device",
                "install a CUDA build of PyTorch and the driver, or take the CPU",
            )
        self.device = device
        self._input, self._outputs = image, (output, *others)
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads or usable_cores())
        self._network: Callable[[Tensor], Any] | None = self._ready(network.eval().to(device))
        self.settings: dict[str, Any] = {
            "threads": torch.get_num_threads(),
            "version": torch.__version__,
            "tf32": bool(torch.backends.cuda.matmul.allow_tf32),
        }

    def _ready(self, network: nn.Module) -> Callable[[Tensor], Any]:
        return network

    def run(self, inputs: Inputs) -> Outputs:
        """Run one batch of host arrays through the network; see :class:`Runner`."""
        if self._network is None:
            raise RunnerError(f"{self.name} is closed", "open another runner")
        if set(inputs) != {self._input}:
            raise RunnerError(
                f"inputs are named {', '.join(sorted(inputs)) or 'nothing'}",
                f"the network takes {self._input}",
            )
        image = to_tensor(inputs[self._input])
        try:
            # Copying back waits for the device.
            with torch.inference_mode():
                output = self._network(image.to(self.device))
                outputs = [part.cpu() for part in _parts(output)]
        except Exception as error:
            first = str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
            raise RunnerError(
                f"PyTorch failed on {image.dtype} of {' x '.join(map(str, image.shape))}:"
                f" {first}",
                "feed images prepared as the artefact's sidecar says",
            ) from error
        return {name: to_array(part) for name, part in zip(self._outputs, outputs, strict=True)}

    def close(self) -> None:
        """Free the network and restore the number of threads; a second call does nothing."""
        if self._network is None:
            return
        self._network = None
        torch.set_num_threads(self._threads_before)
        if self.device == "cuda":
            torch.cuda.empty_cache()


class CompiledRunner(EagerRunner):
    """A network that ``torch.compile`` compiles at its first run on each shape."""

    name = "compile"

    def _ready(self, network: nn.Module) -> Callable[[Tensor], Any]:
        compiled: Callable[[Tensor], Any] = torch.compile(network, dynamic=False)
        return compiled


def _parts(output: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return (output,) if isinstance(output, Tensor) else output


def to_tensor(array: Any) -> Tensor:
    """Return a host array as a tensor on the CPU, which shares writable memory.

    Raises:
        RunnerError: ``array`` is no array, or has a type that PyTorch lacks.
    """
    if not isinstance(array, np.ndarray):
        raise RunnerError(f"{INPUT} is a {type(array).__name__}", "give a NumPy array")
    if not array.flags.writeable:
        array = array.copy()
    try:
        if array.dtype.name == "bfloat16":  # of ml_dtypes
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise RunnerError(
            f"{INPUT}: {error}", "give a contiguous float or uint8 array"
        ) from error


def to_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor on the CPU as an array.

    bfloat16 becomes the type that ml_dtypes adds to NumPy.
    """
    tensor = tensor.detach().contiguous()
    if tensor.dtype is not torch.bfloat16:
        array: NDArray[Any] = tensor.numpy()
        return array
    import ml_dtypes

    return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
