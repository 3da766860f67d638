"""A contender opened: with a batch to time it on, or to be asked about images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from hrvit_deploy.artefact import Manifest, read_sidecar, sidecar_of
from hrvit_deploy.images import prepare, stack
from hrvit_deploy.measure.verify import Side, side_of
from hrvit_deploy.runners.contender import Contender, ContenderKind
from hrvit_deploy.runners.open_ import open_runner, preparation_for
from hrvit_deploy.runners.protocol import Inputs, Runner


def open_contender(contender: Contender, *, profiled: bool = False) -> tuple[Runner, Inputs]:
    """The runner, and one batch of noise prepared as it wants images.

    Speed does not hang on what the images show, and noise is the same everywhere.

    Raises:
        HrvitDeployError: Whatever :func:`hrvit_deploy.runners.open_.open_runner` raises.
    """
    runner = open_runner(contender, profiled=profiled)
    manifest = read_sidecar(sidecar_of(Path(contender.path)))
    preparation = preparation_for(contender, manifest)
    taken = manifest.inputs[0]
    torch = contender.kind in (ContenderKind.EAGER, ContenderKind.COMPILE)
    dtype = "float32" if torch else taken.dtype
    batch = taken.batch or contender.batch
    generator = np.random.default_rng(0)
    images = [
        generator.integers(0, 256, (*preparation.size, 3), dtype=np.uint8) for _ in range(batch)
    ]
    prepared = [prepare(pixels, preparation, dtype) for pixels in images]
    return runner, {taken.name: stack(prepared)}


@contextmanager
def asking(contender: Contender) -> Iterator[Side]:
    """The contender, opened and told how to prepare images; closed at the end.

    Raises:
        HrvitDeployError: Whatever :func:`hrvit_deploy.runners.open_.open_runner` raises.
    """
    with open_runner(contender) as runner:
        manifest = read_sidecar(sidecar_of(Path(contender.path)))
        torch = contender.kind in (ContenderKind.EAGER, ContenderKind.COMPILE)
        side = side_of(manifest, runner)
        yield replace(
            side,
            preparation=preparation_for(contender, manifest),
            input_dtype="float32" if torch else side.input_dtype,
            batch=_batch_of(manifest),
        )


def _batch_of(manifest: Manifest) -> int:
    """Images a run: the fixed batch, a plan's usual one, or one."""
    profile = manifest.options.get("profile") or {}
    return manifest.inputs[0].batch or int(profile.get("opt", 1))
