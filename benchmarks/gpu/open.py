"""How a candidate is opened in the process it is timed in, and held against eager FP32."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.gpu.agreement import judge
from benchmarks.gpu.candidates import BACKENDS, CUDA, PROVIDERS, TORCH, Job, Runtime
from benchmarks.gpu.runtimes.torch_ import allocated_mib, no_cuda, open_network
from benchmarks.gpu.timing import Clock, CudaClock, HostClock, Launch, Turns
from hrvit_deploy.artefact import Preparation
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.images import prepare
from hrvit_deploy.options import ImageSize
from hrvit_deploy.runners.protocol import Inputs, Runner


def open_job(job: Job) -> tuple[Runner, Inputs]:
    """Open a candidate, run it, and compare its output.

    Raises:
        HrvitDeployError: It cannot be opened or run.
    """
    # Kept, so that a run that goes on need not compile again.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(job.work) / "inductor")
    images = read_images(job)
    if job.entry.runtime is Runtime.TRT8:
        from benchmarks.gpu.runtimes.tensorrt8 import open_program

        return open_program(job, images), {"image": images}
    with ExitStack() as opening:
        clock = enter_device(job.device, opening)
        launch, first_run_s = first_run(job, torch.from_numpy(images).to(job.device), clock)
        measured = judge(job, launch.answer.float().cpu().numpy())
        turns = Turns(launch, clock, Path(job.book), job.turn_s, opening.pop_all())
    turns.settings |= {
        **measured,
        "first_run_s": first_run_s,
        "allocated_mib": allocated_mib(job.device),
    }
    return turns, {"image": images}


def enter_device(device: str, opening: ExitStack) -> Clock:
    """The clock of a device, and on CUDA a stream of this process's own until it closes."""
    if device != CUDA:
        return HostClock()
    if not torch.cuda.is_available():
        raise RunnerError(*no_cuda())
    # GraphCache and onnxruntime take no default stream.
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    opening.enter_context(torch.cuda.stream(stream))
    return CudaClock()


def first_run(job: Job, image: Tensor, clock: Clock) -> tuple[Launch, float]:
    """The candidate after its first run, and how long that took, in seconds."""
    launch = open_launch(job, image)
    clock.wait()
    started = time.perf_counter()
    launch.launch()
    clock.wait()
    return launch, time.perf_counter() - started


def open_launch(job: Job, image: Tensor) -> Launch:
    runtime = job.entry.runtime
    if runtime in TORCH:
        return open_network(job, image)
    if runtime in PROVIDERS:
        from benchmarks.gpu.runtimes.onnxruntime_ import open_session

        return open_session(job, image)
    assert runtime in BACKENDS
    from benchmarks.gpu.runtimes.tensorrt import open_plan

    return open_plan(job, image)


def read_images(job: Job) -> NDArray[np.float32]:
    """The batch, ``B x 3 x H x W``, the pictures repeated until it is full."""
    pictures = np.load(job.pictures)
    preparation = Preparation(ImageSize(*job.size))
    ready = [prepare(picture, preparation) for picture in pictures]
    return np.concatenate([ready[index % len(ready)] for index in range(job.batch)])
