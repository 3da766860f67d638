"""A plan inside a PyCUDA program: in its context, on its arrays, nothing copied to the host.

Usage: python examples/06_pycuda.py PLAN IMAGE [--runs 100]

Needs an NVIDIA GPU and the CUDA toolkit: pip install 'hrvit-deploy[gpu,pycuda]'.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# CUDA's runtime, which the plan runs by, uses the device's primary context. This makes it
# PyCUDA's own, too; with another one current, arrays of the two would not know each other.
import pycuda.autoprimaryctx  # noqa: F401
from pycuda import gpuarray

import hrvit_deploy

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("plan", type=Path)
parser.add_argument("image", type=Path)
parser.add_argument("--runs", type=int, default=100)
arguments = parser.parse_args()


def median_ms(run: Callable[[], Any]) -> float:
    """What a run takes, once its CUDA graph is captured."""
    times = []
    for _ in range(arguments.runs):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


with hrvit_deploy.load(arguments.plan) as session:
    taken, returned = session.manifest.inputs[0], session.manifest.outputs[0]
    pixels = hrvit_deploy.load_image(arguments.image)
    prepared = hrvit_deploy.prepare(pixels, session.manifest.preparation, taken.dtype)
    batch = np.repeat(prepared, session.batch or 1, axis=0)

    # Read where it lies. Whatever PyCUDA still writes to it on a stream must be done.
    on_gpu = gpuarray.to_gpu(batch)
    answer = session.run({taken.name: on_gpu}, on_device=True)[returned.name]
    # As base, the answer lives as long as PyCUDA's view of it.
    scores = gpuarray.GPUArray(answer.shape, answer.dtype, base=answer, gpudata=answer.address)

    expected = session.run({taken.name: batch})[returned.name]
    difference = np.abs(scores.get().astype(np.float64) - expected.astype(np.float64)).max()
    print(f"{session.name} on {session.settings['gpu']}: {returned.name} of {scores.shape}")
    print(f"off by {difference:.1e} from the answer by way of the host")
    assert difference < 1e-3

    host_ms = median_ms(lambda: session.run({taken.name: batch}))
    gpu_ms = median_ms(lambda: session.run({taken.name: on_gpu}, on_device=True))
    print(f"{host_ms:.2f} ms by way of the host, {gpu_ms:.2f} ms on the GPU alone")
