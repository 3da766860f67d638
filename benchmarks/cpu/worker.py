"""The process a candidate is timed in on a CPU: opens it and compares its output once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.cpu.candidates import CHAIN, IMAGE, LOGITS, WEIGHT, Job, Runtime
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.measure.latency.worker import Message, main
from hrvit_deploy.runners.protocol import Inputs, Runner


def open_job(message: Message) -> tuple[Runner, Inputs]:
    """Open a candidate, and note in its settings how far its output lies from eager's.

    Raises:
        HrvitDeployError: It cannot be opened or run.
    """
    job = msgspec.convert(message["job"], Job)
    # Every compilation from nothing, whoever compiled before.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = message["compiled"]
    if job.reason:
        raise RunnerError(job.reason)
    with np.load(job.probe) as held:
        arrays = dict(held)
    runner = _open(job, arrays, message["threads"])
    started = time.perf_counter()
    answer = runner.run({IMAGE: arrays[IMAGE]})[LOGITS]
    runner.settings["first_run_s"] = time.perf_counter() - started
    runner.settings["max_abs_error"], runner.settings["relative_error"] = errors_of(
        answer, arrays[LOGITS]
    )
    return runner, {IMAGE: arrays[IMAGE]}


def errors_of(answer: NDArray[Any], expected: NDArray[Any]) -> tuple[float, float]:
    """The largest error, and the same in deviations of what was expected."""
    if answer.shape != expected.shape:
        raise RunnerError(f"it answers in the shape {answer.shape}, not {expected.shape}")
    largest = float(np.max(np.abs(answer.astype(np.float64) - expected)))
    return largest, largest / float(np.std(expected, dtype=np.float64))


def _open(job: Job, arrays: dict[str, NDArray[Any]], threads: int) -> Any:
    """The runner of a job; each process imports the one library it needs."""
    match job.runtime:
        case Runtime.ONNXRUNTIME:
            from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

            return OnnxRuntimeRunner(Path(job.graph), threads=threads)
        case Runtime.OPENVINO:
            from hrvit_deploy.runners.openvino_ import OpenVinoRunner

            return OpenVinoRunner(Path(job.graph), threads=threads, precision=job.precision)
        case Runtime.MATMUL:
            from benchmarks.cpu.torch_ import MatMulRunner

            return MatMulRunner(arrays[WEIGHT], CHAIN, threads)
    from benchmarks.cpu.torch_ import FrozenRunner, OptimizedRunner
    from hrvit_deploy import trained
    from hrvit_deploy.runners.torch_ import CompiledRunner, EagerRunner

    runners = {
        Runtime.EAGER: EagerRunner,
        Runtime.COMPILE: CompiledRunner,
        Runtime.FROZEN: FrozenRunner,
        Runtime.OPTIMIZED: OptimizedRunner,
    }
    assert job.network is not None
    return runners[job.runtime](trained.load(job.network).network, threads=threads)


if __name__ == "__main__":
    main(open_job)
