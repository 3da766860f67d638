"""Sides that answer with a function of the batch, for tests that need no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.options import ImageSize, OutputFormat
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs

CLASSES = 5
SIZE = ImageSize(32, 32)
PLAIN = Preparation(SIZE)
MIX = np.random.default_rng(7).normal(size=(CLASSES, 3)).astype(np.float32)


class FakeRunner(Closing):
    """Answers with a function of the batch, and remembers what it was fed."""

    name, device = "fake", "cpu"

    def __init__(self, network: Callable[[Any], Any]) -> None:
        self.network = network
        self.settings: dict[str, Any] = {}
        self.fed: list[NDArray[Any]] = []

    def run(self, inputs: Inputs) -> Outputs:
        self.fed.append(inputs["image"])
        return {"logits": self.network(inputs["image"])}


def scores(batch: Any) -> Any:
    """``B x 5 x H x W``: a mix of the channels that is not the same upside down or mirrored."""
    height, width = batch.shape[2:]
    slope = np.linspace(0, 1, height)[:, None] + np.linspace(0, 2, width)
    mixed = np.einsum("kc,bchw->bkhw", MIX, batch)
    mixed[:, 1] += slope
    return mixed.astype(np.float32)


def whole(batch: Any) -> Any:
    """``B x 5`` scores of whole images."""
    return scores(batch).mean(axis=(2, 3))


def class_map(batch: Any) -> Any:
    return scores(batch).argmax(axis=1).astype(np.uint8)


def quarter(batch: Any) -> Any:
    return scores(batch)[:, :, ::4, ::4]


def side(network: Callable[[Any], Any] = scores, **changes: Any) -> PreparedRunner:
    return replace(PreparedRunner(FakeRunner(network), PLAIN, OutputFormat.LOGITS), **changes)


def fed(asked: PreparedRunner) -> list[NDArray[Any]]:
    """The batches a side was fed."""
    runner = asked.runner
    assert isinstance(runner, FakeRunner)
    return runner.fed
