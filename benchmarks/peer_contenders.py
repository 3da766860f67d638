"""The candidates of peers.py, and how each is opened in the process it is timed in.

A candidate is described by a JSON file (:class:`Job`), which crosses to its process as the
path of a :class:`hrvit_deploy.runners.spec.RunnerSpec`. Opening it asks it once, and holds
its answer against the eager network's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import RunnerError
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.runners.protocol import Inputs, Runner
from hrvit_deploy.runners.spec import InferencePrecision, RunnerSpec

# For bench: how a worker opens a candidate.
FACTORY = "peer_contenders:open_peer"
IMAGE, LOGITS, WEIGHT = "image", "logits", "weight"
# Products one after another in one run, lest copying the last one's answer count.
CHAIN = 4
F32, DEVICE = InferencePrecision.F32, InferencePrecision.DEVICE


class Form(StrEnum):
    """The network as trained, its graph as PyTorch writes it, or a deploy form's.

    ``ours`` is the one graph that suits every runtime, ``ours fitted`` is laid out for the
    runtime that it runs in.
    """

    TRAINED = "trained"
    PLAIN = "plain"
    OURS = "ours"
    FITTED = "ours fitted"


class Runtime(StrEnum):
    """What computes."""

    EAGER = "eager"
    COMPILE = "torch.compile"
    FROZEN = "TorchScript frozen"
    OPTIMIZED = "TorchScript optimized"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "OpenVINO"
    # Products of square matrices: what the machine can do at best.
    MATMUL = "torch"


@dataclass(frozen=True)
class Peer:
    """One row of the comparison."""

    form: Form
    runtime: Runtime
    precision: InferencePrecision = F32

    @property
    def place(self) -> str:
        """``OpenVINO default``; the precision only where there is a choice."""
        word = "default" if self.precision is DEVICE else str(self.precision)
        return (
            f"{self.runtime} {word}" if self.runtime is Runtime.OPENVINO else str(self.runtime)
        )

    @property
    def name(self) -> str:
        """``ours, OpenVINO default``; of the network as trained, the runtime alone."""
        return self.place if self.form is Form.TRAINED else f"{self.form}, {self.place}"


EAGER = Peer(Form.TRAINED, Runtime.EAGER)
# The first is what the others are held against.
GRAPHS = (Form.PLAIN, Form.OURS, Form.FITTED)
PEERS = (
    EAGER,
    Peer(Form.TRAINED, Runtime.COMPILE),
    Peer(Form.TRAINED, Runtime.FROZEN),
    Peer(Form.TRAINED, Runtime.OPTIMIZED),
    *(Peer(form, Runtime.ONNXRUNTIME) for form in GRAPHS),
    *(Peer(form, Runtime.OPENVINO) for form in GRAPHS),
    *(Peer(form, Runtime.OPENVINO, DEVICE) for form in GRAPHS),
)


def peers_in(runtimes: Sequence[Runtime]) -> tuple[Peer, ...]:
    """Those that run there, eager first."""
    return tuple(peer for peer in PEERS if peer is EAGER or peer.runtime in runtimes)


@dataclass(frozen=True)
class Job:
    """What a worker is to open.

    Attributes:
        probe: ``.npz`` with an ``image`` to run, and the ``logits`` it should give.
        graph: For runtimes that run one.
        network: For those of PyTorch.
        precision: What OpenVINO is told to compute in.
        reason: Why there is nothing to open, if there is not.
    """

    runtime: Runtime
    probe: str
    graph: str = ""
    network: NetworkSpec | None = None
    precision: InferencePrecision = F32
    reason: str = ""


def open_peer(spec: RunnerSpec) -> tuple[Runner, Inputs]:
    """Open a candidate, and note in its settings how far its answer lies from eager's.

    Raises:
        HrvitDeployError: It cannot be opened or run.
    """
    job = msgspec.json.decode(Path(spec.path).read_bytes(), type=Job)
    # Every compilation from nothing, whoever compiled before.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{spec.path}.compiled"
    if job.reason:
        raise RunnerError(job.reason)
    with np.load(job.probe) as held:
        arrays = dict(held)
    runner = _open(job, arrays, spec.threads or 1)
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
            from peer_torch import MatMulRunner

            return MatMulRunner(arrays[WEIGHT], CHAIN, threads)
    from peer_torch import FrozenRunner, OptimizedRunner

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
