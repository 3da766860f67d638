"""How many images go into one run."""

from __future__ import annotations

from dataclasses import dataclass

from hrvit_deploy.artefact import Kind, Manifest
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import BatchProfile

LARGEST_BATCH = 8


@dataclass(frozen=True)
class BatchLimits:
    """Images per run: at least, and at most."""

    least: int
    most: int


def batch_limits(manifest: Manifest, largest_batch: int = LARGEST_BATCH) -> BatchLimits:
    """Return the fixed batch, or the limits of a dynamic one.

    Args:
        manifest: Of the artefact.
        largest_batch: Images at most where the batch is dynamic; a plan's profile may
            allow fewer.

    Raises:
        UsageError: That is none.
    """
    if largest_batch < 1:
        raise UsageError(f"a batch of at most {largest_batch} holds no image", "give 1 or more")
    fixed = manifest.inputs[0].batch
    if fixed is not None:
        return BatchLimits(fixed, fixed)
    if manifest.kind is not Kind.PLAN:
        return BatchLimits(1, largest_batch)
    profile = BatchProfile(**(manifest.options.get("profile") or {}))
    return BatchLimits(profile.min, max(profile.min, min(profile.max, largest_batch)))
