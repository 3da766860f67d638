"""Candidates of a few lines; run as a module, the worker that opens them."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrvit_deploy.errors import RunnerError
from hrvit_deploy.measure.latency.worker import Message, main
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs


@dataclass(frozen=True)
class Behaviour:
    """What a fake candidate does, as ``sleep:MILLISECONDS`` or a word for a fault."""

    name: str
    does: str = "sleep:2"
    batch: int = 1
    pid_folder: str = ""

    @property
    def message(self) -> Message:
        return {"device": "cpu", **asdict(self)}


class Sleeper(Closing):
    """Takes as many milliseconds as its behaviour says, and does what it says."""

    device = "cpu"

    def __init__(self, behaviour: Behaviour) -> None:
        self.name = behaviour.name
        self.behaviour, _, argument = behaviour.does.partition(":")
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


def open_sleeper(message: Message) -> tuple[Sleeper, Inputs]:
    behaviour = Behaviour(**{k: v for k, v in message.items() if k != "device"})
    # What a chatty library would do to the answers.
    print("banner of a library")  # noqa: T201
    if behaviour.does == "absent":
        raise RunnerError("there is no such thing", "look elsewhere")
    if behaviour.pid_folder:
        path = Path(behaviour.pid_folder) / f"{behaviour.name}.pid"
        path.write_text(str(os.getpid()))
    return Sleeper(behaviour), {"image": np.zeros((behaviour.batch, 3), np.float32)}


if __name__ == "__main__":
    main(open_sleeper)
