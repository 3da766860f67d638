"""A network from its description, and what it costs."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hrvit_deploy.errors import UsageError
from hrvit_deploy.model.heads import HRViTClassifier, HRViTFeatures, HRViTSegmenter
from hrvit_deploy.model.variants import Variant
from hrvit_deploy.options import ImageSize, Task

Network = HRViTClassifier | HRViTSegmenter | HRViTFeatures
_CLASSES: dict[Task, type[HRViTClassifier | HRViTSegmenter]] = {
    Task.CLASSIFY: HRViTClassifier,
    Task.SEGMENT: HRViTSegmenter,
}


def build_network(
    variant: Variant, task: Task, num_classes: int, in_channels: int = 3
) -> Network:
    """Build a freshly initialised network in evaluation mode.

    Raises:
        UsageError: Fewer than one class or input channel.
    """
    if task is Task.FEATURES:
        return HRViTFeatures(variant, in_channels).eval()
    if num_classes < 1 or in_channels < 1:
        raise UsageError(
            f"{num_classes} classes from {in_channels} channels is no network",
            "give at least one of each",
        )
    return _CLASSES[task](variant, num_classes, in_channels).eval()


def build_on_meta(
    variant: Variant, task: Task, num_classes: int, in_channels: int = 3
) -> Network:
    """Build the same network without memory behind its parameters, for shapes and counts."""
    with torch.device("meta"):
        return build_network(variant, task, num_classes, in_channels)


def count_parameters(network: nn.Module) -> int:
    """Count trainable numbers, as papers do."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(
    variant: Variant, task: Task, num_classes: int, size: ImageSize, in_channels: int = 3
) -> int:
    """Count multiply-adds of convolutions and products for one image, by torch's counter."""
    network = build_on_meta(variant, task, num_classes, in_channels)
    image = torch.empty(1, in_channels, *size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    # The counter's flops are two to a multiply-add.
    return int(counter.get_total_flops()) // 2


def set_random_weights(network: nn.Module, seed: int) -> None:
    """Give every parameter and statistic a value that depends on its name and the seed.

    A freshly initialised HRViT hides its attention behind a zero BatchNorm weight, so a
    comparison on such weights would not see it. Here norms scale, shift and whiten like
    trained ones, and every activation keeps a deviation near 1.
    """
    values = {
        name: torch.from_numpy(np.asarray(_random_value(name, tensor, seed)))
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(values)


def _random_value(name: str, tensor: Tensor, seed: int) -> np.ndarray:
    shape = tuple(tensor.shape)
    # Seed 0 gives the weights of the golden outputs (tests/golden/README.md).
    key = zlib.crc32(name.encode())
    random = np.random.default_rng(key if seed == 0 else (key, seed))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_mean"):
        value = 0.1 * random.standard_normal(shape)
    elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        value = random.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        value = 0.1 * random.standard_normal(shape)
    else:
        value = random.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
    return value.astype(np.float32)
