"""A contender opened, with a batch to time it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hrvit_deploy.artefact import read_sidecar, sidecar_of
from hrvit_deploy.images import prepare, stack
from hrvit_deploy.runners.contender import Contender, ContenderKind
from hrvit_deploy.runners.open_ import open_runner, preparation_for
from hrvit_deploy.runners.protocol import Inputs, Runner


def open_contender(contender: Contender) -> tuple[Runner, Inputs]:
    """The runner, and one batch of noise prepared as it wants images.

    Speed does not hang on what the images show, and noise is the same everywhere.

    Raises:
        HrvitDeployError: Whatever :func:`hrvit_deploy.runners.open_.open_runner` raises.
    """
    runner = open_runner(contender)
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
