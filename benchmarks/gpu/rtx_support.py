"""Whether TensorRT-RTX runs on the GPU at hand, which is not among those it names.

Each question is asked in a process of its own, for a plan that does not fit may end it, and
is answered in the library's own words.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import torch

from benchmarks.common.forms import Form
from benchmarks.gpu.agreement import compare
from benchmarks.gpu.candidates import FP16, WORKER, Entry, Job, Runtime
from benchmarks.gpu.machine import Survey
from benchmarks.gpu.open import enter_device, read_images
from hrvit_deploy.artefact import plain
from hrvit_deploy.errors import HrvitDeployError, RunnerError
from hrvit_deploy.measure.latency.process import Worker
from hrvit_deploy.options import Backend, ImageSize
from hrvit_deploy.runners.protocol import Inputs, Runner

TIMEOUT_S = 600.0
ASKED = Entry(Form.FITTED, Runtime.RTX, FP16)
DEFAULT, CURRENT = "default", "current"
TEXTS = {
    DEFAULT: "Does a TensorRT-RTX plan for the GPUs it builds for by default run here?",
    CURRENT: "Does a TensorRT-RTX plan built for the GPU at hand run here?",
}


@dataclass(frozen=True)
class Answer:
    """What came of a question; None for a step that was not come to.

    Attributes:
        capability: Of the GPU here.
        built: Whether there is a plan; brought along or built here, as ``plan`` says.
        relative_error: Of its answer, the largest, in deviations of eager FP32's.
        words: What the library said.
        error: Why the next step was not taken.
    """

    question: str
    kind: str
    capability: str = ""
    built: bool | None = None
    deserialised: bool | None = None
    ran: bool | None = None
    relative_error: float | None = None
    plan: dict[str, Any] | None = None
    words: tuple[str, ...] = ()
    error: str = ""


def ask(kind: str, job: Job, capability: str, timeout_s: float) -> Answer:
    """Put one question to a process of its own.

    Args:
        kind: ``default`` or ``current``.
        job: Of TensorRT-RTX.
        capability: Of the GPU here.
        timeout_s: How long it may take, in seconds.
    """
    question = plain(replace(job, current=kind == CURRENT))
    blank = Answer(TEXTS[kind], kind, capability)
    with Worker(kind, module=WORKER) as worker:
        try:
            message = {"device": job.device, "question": question}
            found = worker.open(message, min(timeout_s, TIMEOUT_S))["settings"]
        except RunnerError as error:
            return replace(blank, error=error.message)
    return msgspec.convert({**found, "capability": capability}, Answer)


def open_question(job: Job) -> tuple[Runner, Inputs]:
    """Build or find the plan, open it, run it, and compare its output."""
    return Survey(msgspec.to_builtins(walk(job))), {"image": np.zeros(1)}


def walk(job: Job) -> Answer:
    """As far as the library goes."""
    from benchmarks.gpu.runtimes.tensorrt import PlanLaunch, find_plan
    from hrvit_deploy.bindings import tensorrt_
    from hrvit_deploy.bindings.log import listening

    kind = CURRENT if job.current else DEFAULT
    answer = Answer(TEXTS[kind], kind)
    try:
        trt = tensorrt_.load(Backend.TENSORRT_RTX)
    except HrvitDeployError as error:
        return replace(answer, error=error.message)
    with listening(trt) as log, ExitStack() as opening:
        try:
            plan = find_plan(job, trt)
            answer = replace(answer, built=True, plan=plan.about)
            clock = enter_device(job.device, opening)
            images = read_images(job)
            launch = PlanLaunch(trt, plan, torch.from_numpy(images).to(job.device))
            answer = replace(answer, deserialised=True)
            launch.launch()
            clock.wait()
            ends = launch.answer.float().cpu().numpy()[[0, -1][: job.batch]]
            found = compare(ends, np.load(job.expected), ImageSize(*job.size))
            answer = replace(answer, ran=True, relative_error=found["relative_error"])
        except HrvitDeployError as error:
            answer = after(answer, error.message)
        # Whatever CUDA throws is the answer.
        except RuntimeError as error:
            answer = after(answer, str(error).splitlines()[0])
    return replace(answer, words=tuple(dict.fromkeys((*log.errors, *log.warnings))))


def after(answer: Answer, error: str) -> Answer:
    """The first step that was not taken is the one that failed."""
    step = next(name for name in ("built", "deserialised", "ran") if not getattr(answer, name))
    return replace(answer, **{step: False}, error=error)  # type: ignore[arg-type]


def runs_as(answers: list[dict[str, Any]]) -> str:
    """The kind of plan that ran: ``default``, else ``current``; empty if neither did."""
    ran = [answer["kind"] for answer in answers if answer["ran"]]
    return DEFAULT if DEFAULT in ran else next(iter(ran), "")


def refusal(answers: list[dict[str, Any]]) -> str:
    """Why neither kind of plan runs, in a line."""
    reasons = dict.fromkeys(answer["error"] for answer in answers if answer["error"])
    return "; ".join(reasons) or "no plan of it was tried"
