"""onnxsim over a graph, kept only if it did no harm."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.graphs import check_graph
from hrvit_deploy.runners.inputs import Signature
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner
from hrvit_deploy.runners.protocol import Inputs, Outputs

# Isolated from the folder it runs in, where a file could pass itself off as a module.
WORKER = (sys.executable, "-P", "-m", "hrvit_deploy.export.simplify_worker")
TIMEOUT_S = 900
# Simplifying reorders float arithmetic at most; a wrong graph is off by far more.
TOLERANCE = 1e-3
# Elements compared at once.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Simplified:
    """Whether the simpler graph was kept, and if not why.

    Attributes:
        path: The graph to go on with.
        note: Empty if it was kept.
    """

    path: Path
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether ``path`` is the simplified graph."""
        return not self.note


def simplify(
    source: Path,
    target: Path,
    inputs: Inputs,
    *,
    worker: Sequence[str] = WORKER,
    timeout_s: float = TIMEOUT_S,
) -> Simplified:
    """Simplify a graph in a process of its own and compare the two on real input.

    Args:
        source: The graph to simplify.
        target: Where the simpler one goes.
        inputs: What to run both on.
        worker: Command that takes ``source`` and ``target``.
        timeout_s: How long the worker may take, in seconds.

    Returns:
        ``target``, or ``source`` with a note on why the result was dropped.
    """
    note = run_worker((*worker, str(source), str(target)), timeout_s)
    if not note:
        note = find_fault(source, target, inputs)
    return Simplified(source, note) if note else Simplified(target)


def run_worker(command: Sequence[str], timeout_s: float) -> str:
    """Run the worker; returns what went wrong, empty if nothing did."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"onnxsim took longer than {timeout_s:.0f} s"
    if done.returncode < 0:
        return f"onnxsim crashed with signal {-done.returncode}"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return f"onnxsim failed: {lines[-1][:200] if lines else done.returncode}"
    return ""


def find_fault(source: Path, target: Path, inputs: Inputs) -> str:
    """Describe how the simplified graph is wrong; empty if it is not."""
    try:
        check_graph(target)
        # One after the other: each holds the network's largest activations.
        with OnnxRuntimeRunner(source, save_memory=True) as before:
            signature, requests = before.signature, probes(inputs, before)
            expected = [before.run(probe) for probe in requests]
        with OnnxRuntimeRunner(target, save_memory=True) as after:
            if after.signature != signature:
                return (
                    f"onnxsim's graph takes {_described(after.signature)},"
                    f" not {_described(signature)}"
                )
            for probe, output in zip(requests, expected, strict=True):
                fault = compare(output, after.run(probe))
                if fault:
                    return fault
    except HrvitDeployError as error:
        return f"onnxsim's graph does not run: {error.message}"
    except OSError as error:
        return f"onnxsim wrote no graph: {error}"
    return ""


def probes(inputs: Inputs, runner: OnnxRuntimeRunner) -> list[Inputs]:
    """Return what to run: the batch given and, where it may vary, its first image alone."""
    dynamic = any(not isinstance(shape[0], int) for _, shape in runner.signature.values())
    return [inputs, {name: array[:1] for name, array in inputs.items()}][: 1 + dynamic]


def compare(before: Outputs, after: Outputs) -> str:
    """Describe how two graphs' outputs differ by more than rounding; empty if they do not."""
    if before.keys() != after.keys():
        return f"onnxsim's graph returns {', '.join(after)}"
    for name, expected in before.items():
        actual = after[name]
        if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
            return (
                f"onnxsim's {name} is {actual.dtype} of shape {actual.shape}, not"
                f" {expected.dtype} of {expected.shape}"
            )
        if np.issubdtype(expected.dtype, np.integer):
            # Class indices differ where two classes tie, and only there.
            wrong = float(np.mean(actual != expected))
        else:
            wrong = relative_error(actual, expected)
        if not wrong <= TOLERANCE:
            return f"onnxsim's {name} is off by {wrong:.1e} of its deviation"
    return ""


def relative_error(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest error, in deviations of what is expected; NaN if either is no number.

    In portions, since what a large image's logits fill in float64 is gigabytes.
    """
    flat = expected.ravel(), actual.ravel()
    largest, sums, squares = 0.0, 0.0, 0.0
    for start in range(0, flat[0].size, CHUNK):
        before, after = (part[start : start + CHUNK].astype(np.float64) for part in flat)
        largest = float(np.maximum(largest, np.max(np.abs(after - before))))
        sums += float(before.sum())
        squares += float(before @ before)
    mean = sums / flat[0].size
    deviation = math.sqrt(max(0.0, squares / flat[0].size - mean * mean))
    return largest / (deviation or 1.0)


def _described(signature: Signature) -> str:
    return ", ".join(
        f"{name} {dtype} {'x'.join(map(str, shape))}"
        for name, (dtype, shape) in signature.items()
    )
