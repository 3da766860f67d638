"""A session without a network."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import numpy as np
from PIL import Image

from hrvit_deploy.artefact import Manifest
from hrvit_deploy.classes import class_set
from hrvit_deploy.options import Task
from support.labelled import picture

NAMES = ("background", "road", "sky", "tree")


class Session:
    """Answers what is written in an image: its first red value, modulo the classes.

    Attributes:
        runs: Images of each run.
        gate: Runs wait for it.
    """

    name = "stand-in"
    batch: int | None = None

    def __init__(self, manifest: Manifest, task: Task = Task.SEGMENT) -> None:
        self.manifest, self.task = manifest, task
        self.classes = class_set(NAMES)
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self.seconds = 0.0
        self.error: Exception | None = None

    def __call__(self, images: list[Any]) -> list[Any]:
        self.gate.wait(20)
        time.sleep(self.seconds)
        self.runs.append(len(images))
        if self.error is not None:
            raise self.error
        return [self._one(image) for image in images]

    def _one(self, pixels: Any) -> Any:
        index = int(pixels[0, 0, 0]) % len(NAMES)
        if self.task is Task.CLASSIFY:
            shares = np.full(len(NAMES), 0.1, np.float32)
            shares[index] = 0.7
            return shares
        labels = np.zeros(pixels.shape[:2], np.int32)
        labels[: len(labels) // 2] = index
        return labels

    def close(self) -> None:
        self.closed = True


def png(red: int = 1, height: int = 20, width: int = 30) -> bytes:
    """A picture that tells its class."""
    pixels = picture(0, height, width).copy()
    pixels[0, 0, 0] = red
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
