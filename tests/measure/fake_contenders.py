"""Candidates of a few lines, opened by name in a worker's process."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hrvit_deploy.errors import RunnerError
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs
from hrvit_deploy.runners.spec import RunnerSpec


class Sleeper(Closing):
    """Takes as many milliseconds as its candidate's path says, and does what it says."""

    device = "cpu"

    def __init__(self, spec: RunnerSpec) -> None:
        self.name = spec.name
        self.behaviour, _, argument = spec.path.partition(":")
        self.seconds = float(argument or 1) / 1000
        self.settings: dict[str, Any] = {"threads": os.environ.get("OMP_NUM_THREADS")}
        self.runs = 0
        self.ballast: np.ndarray[Any, Any] | None = None

    def run(self, inputs: Inputs) -> Outputs:
        self.runs += 1
        time.sleep(self.seconds)
        if self.behaviour == "crash" and self.runs > 5:
            sys.stderr.write("terminate called\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.behaviour == "refuse" and self.runs > 5:
            raise RunnerError("the engine stalled", "build it again")
        if self.behaviour == "bug":
            raise ZeroDivisionError("one\ntwo")
        if self.behaviour == "hang":
            time.sleep(600)
        if self.behaviour == "eat" and self.ballast is None:
            self.ballast = np.ones(40 << 17)  # 40 MiB
        return {}


def open_sleeper(spec: RunnerSpec) -> tuple[Sleeper, Inputs]:
    # What a chatty library would do to the answers.
    print("banner of a library")  # noqa: T201
    if spec.path == "absent":
        raise RunnerError("there is no such thing", "look elsewhere")
    if spec.checkpoint:
        path = Path(spec.checkpoint) / f"{spec.name}.pid"
        path.write_text(str(os.getpid()))
    return Sleeper(spec), {"image": np.zeros((spec.batch, 3), np.float32)}
