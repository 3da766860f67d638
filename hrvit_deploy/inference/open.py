"""Runners opened for a purpose: to be given images, or to be timed on one batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from hrvit_deploy.artefact import Manifest
from hrvit_deploy.images import prepare, stack
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.runners.open import open_runner
from hrvit_deploy.runners.protocol import Inputs, Runner
from hrvit_deploy.runners.spec import RunnerSpec


def open_for_timing(spec: RunnerSpec, *, profiled: bool = False) -> tuple[Runner, Inputs]:
    """Open a runner, with one batch of noise prepared as it takes images.

    Speed does not depend on what the images show, and noise is the same everywhere.

    Args:
        spec: What to open.
        profiled: Whether its nodes are to be timed.

    Raises:
        HrvitDeployError: Whatever :func:`hrvit_deploy.runners.open.open_runner` raises.
    """
    runner = open_runner(spec, profiled=profiled)
    input_info = spec.artefact.manifest.inputs[0]
    generator = np.random.default_rng(0)
    shape = (*spec.preparation.size, 3)
    images = [
        generator.integers(0, 256, shape, dtype=np.uint8)
        for _ in range(input_info.batch or spec.batch)
    ]
    prepared = [prepare(pixels, spec.preparation, spec.input_dtype) for pixels in images]
    return runner, {input_info.name: stack(prepared)}


@contextmanager
def open_prepared(spec: RunnerSpec, *, batch: int | None = None) -> Iterator[PreparedRunner]:
    """Open a runner that takes images as they were decoded; close it at the end.

    Args:
        spec: What to open.
        batch: Images per run; None for the artefact's own fixed or usual batch.

    Raises:
        HrvitDeployError: Whatever :func:`hrvit_deploy.runners.open.open_runner` raises.
    """
    manifest = spec.artefact.manifest
    with open_runner(spec) as runner:
        yield replace(
            PreparedRunner.of(manifest, runner),
            preparation=spec.preparation,
            input_dtype=spec.input_dtype,
            batch=batch or _usual_batch(manifest),
        )


def _usual_batch(manifest: Manifest) -> int:
    """Return the fixed batch, the one a plan was tuned for, or one."""
    profile = manifest.options.get("profile") or {}
    return manifest.inputs[0].batch or int(profile.get("opt", 1))
