"""How a candidate is opened in the process it is timed in, and held against eager FP32."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from gpu_contenders import BACKENDS, CUDA, PROVIDERS, TORCH, Job, Runtime
from gpu_torch import allocated_mib, no_cuda, open_network
from gpu_turns import Clock, CudaClock, HostClock, Launch, Turns
from numpy.typing import NDArray
from torch import Tensor

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.images import prepare
from hrvit_deploy.inference.labels import labels_of
from hrvit_deploy.measure.parity.errors import Agreement, Errors
from hrvit_deploy.options import ImageSize, OutputFormat
from hrvit_deploy.runners.protocol import Inputs, Runner
from hrvit_deploy.runners.spec import RunnerSpec


def open_job(spec: RunnerSpec) -> tuple[Runner, Inputs]:
    """Open the candidate that a JSON file describes, run it, and compare its answer.

    Raises:
        HrvitDeployError: It cannot be opened or run.
    """
    job = msgspec.json.decode(Path(spec.path).read_bytes(), type=Job)
    # Kept, so that a run that goes on need not compile again.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(job.work) / "inductor")
    images = read_images(job)
    if job.entry.runtime is Runtime.TRT8:
        from gpu_trt8 import open_program

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
        from gpu_onnxruntime import open_session

        return open_session(job, image)
    assert runtime in BACKENDS
    from gpu_plans import open_plan

    return open_plan(job, image)


def read_images(job: Job) -> NDArray[np.float32]:
    """The batch, ``B x 3 x H x W``, the pictures repeated until it is full."""
    pictures = np.load(job.pictures)
    preparation = Preparation(ImageSize(*job.size))
    ready = [prepare(picture, preparation) for picture in pictures]
    return np.concatenate([ready[index % len(ready)] for index in range(job.batch)])


def judge(job: Job, answer: NDArray[np.float32]) -> dict[str, Any]:
    """How far an answer lies from eager FP32's; of that itself, it is written down instead.

    Raises:
        RunnerError: It has another shape.
    """
    ends = answer[[0, -1][: len(answer)]]
    if job.answer:
        np.save(job.answer, ends)
        return {}
    return compare(ends, np.load(job.expected, mmap_mode="r"), ImageSize(*job.size))


def compare(
    answer: NDArray[Any], expected: NDArray[Any], size: ImageSize
) -> dict[str, float | int | None]:
    """Errors in deviations of what was expected, and how many decisions stay.

    Args:
        answer: Logits of some images.
        expected: Eager FP32's of the same.
        size: Of the images, in pixels.

    Returns:
        None for an error where an answer is not finite throughout.
    """
    if answer.shape != expected.shape:
        raise RunnerError(f"it answers in the shape {answer.shape}, not {expected.shape}")
    errors, agreement = Errors(), Agreement()
    errors.add("images", answer, expected)
    decided = [labels_of(np.asarray(x), OutputFormat.LOGITS, size) for x in (answer, expected)]
    agreement.add(*decided)
    deviation = errors.deviation or 1.0
    finite = not errors.not_finite
    return {
        "max_abs_error": errors.max_abs if finite else None,
        "relative_error": errors.max_abs / deviation if finite else None,
        "mean_error": errors.mean_abs / deviation if finite else None,
        "agreement": agreement.share,
        "not_finite": errors.not_finite,
    }
