"""Networks and inputs that tests share. Nobody may change the networks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrvit_deploy.model.network import Network, build_network, build_on_meta, set_random_weights
from hrvit_deploy.model.variants import VARIANTS, load_variant
from hrvit_deploy.options import ImageSize, Task

# Tests run side by side, where threads would only wait for each other.
torch.set_num_threads(1)

TINY_FILE = Path(__file__).parents[1] / "data" / "tiny.toml"
TINY = load_variant(str(TINY_FILE))
CLASSES = 5
GOLDEN = Path(__file__).parents[1] / "golden"

# Maps of 3 x 3 cells at 1/32; the tiny variant's windows of 3 divide them all.
WHOLE = ImageSize(96, 96)
# Sizes by what windows of 3 leave over at 1/16 and 1/32 of the height and of the width:
# horizontal stripes run out of rows, vertical ones of columns.
SIZES = {
    "whole": WHOLE,
    "rows padded": ImageSize(64, 96),
    "columns padded": ImageSize(96, 64),
    "both padded": ImageSize(160, 64),
    "smaller than a window": ImageSize(32, 32),
}


class GoldenCase(NamedTuple):
    """One line of ``cases.json``."""

    name: str
    variant: str
    task: Task
    num_classes: int
    shape: tuple[int, int, int, int]
    seed: int

    @property
    def size(self) -> ImageSize:
        return ImageSize(*self.shape[2:])

    @property
    def image(self) -> Tensor:
        random = np.random.default_rng(self.seed).standard_normal(self.shape)
        return torch.from_numpy(random.astype(np.float32))

    @property
    def network(self) -> Network:
        return golden_network(self.variant, self.task, self.num_classes)


def _read_cases() -> list[GoldenCase]:
    return [
        GoldenCase(
            case["name"],
            case["variant"],
            Task(case["task"]),
            case["num_classes"],
            tuple(case["input_shape"]),
            case["seed"],
        )
        for case in json.loads((GOLDEN / "cases.json").read_text())
    ]


GOLDEN_CASES = _read_cases()


@cache
def golden_network(variant: str, task: Task, num_classes: int) -> Network:
    """The network whose outputs are golden."""
    network = build_on_meta(VARIANTS[variant], task, num_classes).to_empty(device="cpu")
    set_random_weights(network, 0)
    return network


def golden_output(case: GoldenCase, part: str) -> NDArray[np.float32]:
    """``output`` or ``feature0`` to ``feature3``, sampled as :func:`sampled` does."""
    with np.load(GOLDEN / "outputs.npz") as held:
        stored: NDArray[np.float32] = held[f"{case.name}/{part}"]
    return stored


def sampled(values: Tensor, count: int) -> NDArray[Any]:
    """Values spread evenly over a tensor, as tests/golden/README.md says."""
    flat = values.detach().numpy().ravel()
    return flat[np.linspace(0, flat.size - 1, min(count, flat.size)).astype(np.int64)]


@cache
def tiny(task: Task, seed: int = 0) -> Network:
    """The tiny variant with random weights."""
    network = build_network(TINY, task, CLASSES)
    set_random_weights(network, seed)
    return network


def noise(size: ImageSize, batch: int = 1, seed: int = 0) -> Tensor:
    """``B x 3 x H x W`` like a normalised image."""
    random = np.random.default_rng(seed).standard_normal((batch, 3, *size))
    return torch.from_numpy(random.astype(np.float32))


def answer(network: torch.nn.Module, image: Tensor) -> Tensor:
    """The network's output without gradients."""
    with torch.no_grad():
        output: Tensor = network(image)
    return output


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference; infinity where shapes or finiteness differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours - theirs).abs().nan_to_num(nan=float("inf")).max())
