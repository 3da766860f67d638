"""Keeps kernel timings from one TensorRT build to the next.

TensorRT-RTX keeps none: it times kernels where the plan runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrvit_deploy.engines.backends import Choice
from hrvit_deploy.errors import BuildError
from hrvit_deploy.progress import Progress


def cache_name(choice: Choice) -> str:
    """Return the cache's file name, which names the TensorRT version and the kind of GPU.

    Timings are valid for that version on that kind of GPU only.
    """
    capability = choice.gpu.compute_capability if choice.gpu else "none"
    return f"timing-{choice.version}-sm{capability.replace('.', '')}.cache"


def load_cache(config: Any, path: Path, progress: Progress) -> None:
    """Load the timings in ``path``, or start without any where none fit."""
    try:
        known = path.read_bytes()
    except OSError:
        known = b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        progress.note(f"{path.name} does not fit this TensorRT or GPU: timing kernels afresh")
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def save_cache(config: Any, path: Path) -> None:
    """Write the timings of the build.

    Raises:
        BuildError: The file cannot be written.
    """
    try:
        path.write_bytes(memoryview(config.get_timing_cache().serialize()))
    except OSError as error:
        raise BuildError(
            f"cannot write {path.name}: {error.strerror}", "make room, or choose another --out"
        ) from error
