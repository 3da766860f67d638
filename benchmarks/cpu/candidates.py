"""The candidates on a CPU, and what crosses to the process each is timed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.common.forms import Form
from hrvit_deploy.artefact import plain
from hrvit_deploy.measure.latency.rounds import Candidate
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.runners.spec import InferencePrecision

IMAGE, LOGITS, WEIGHT = "image", "logits", "weight"
# Products one after another in one run, lest copying the last one's answer count.
CHAIN = 4
# The module that Python runs as the process of each.
WORKER = f"{__package__}.worker"
F32, DEVICE = InferencePrecision.F32, InferencePrecision.DEVICE


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


def candidate_of(name: str, job: Job, folder: Path, threads: int) -> Candidate:
    """Return a job as a candidate for :func:`hrvit_deploy.measure.latency.bench.bench`.

    Args:
        name: Of its row.
        job: What is opened.
        folder: For what its worker compiles.
        threads: CPU threads.
    """
    message: dict[str, Any] = {
        "device": "cpu",
        "job": plain(job),
        "threads": threads,
        "compiled": str(folder / f"{name}.compiled"),
    }
    return Candidate(name, message, threads, WORKER)
