"""How many images go into one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from numpy.typing import NDArray

from hrvit_deploy.artefact import Kind, Manifest
from hrvit_deploy.errors import UsageError
from hrvit_deploy.images import NamedImage
from hrvit_deploy.measure.verify import Side
from hrvit_deploy.options import BatchProfile

LARGEST_BATCH = 8


@dataclass(frozen=True)
class Reach:
    """Images per run: at least, and at most."""

    least: int
    most: int


def reach_of(manifest: Manifest, largest_batch: int = LARGEST_BATCH) -> Reach:
    """The fixed batch, or what a dynamic one may be.

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
        return Reach(fixed, fixed)
    if manifest.kind is not Kind.PLAN:
        return Reach(1, largest_batch)
    profile = BatchProfile(**(manifest.options.get("profile") or {}))
    return Reach(profile.min, max(profile.min, min(profile.max, largest_batch)))


@dataclass(frozen=True)
class AskedSide(Side):
    """A side that runs as many images as there are, within a dynamic batch's reach."""

    least: int = 1

    @classmethod
    def like(cls, side: Side, reach: Reach) -> Self:
        """That side, with another batch."""
        fields = {name: getattr(side, name) for name in Side.__dataclass_fields__}
        return cls(**(fields | {"batch": reach.most}), least=reach.least)

    def answers(self, images: Sequence[NamedImage]) -> Iterator[NDArray[Any]]:
        for start in range(0, len(images), self.batch):
            group = images[start : start + self.batch]
            # Filled up only as far as the network asks for.
            filled = replace(self, batch=max(self.least, len(group)))
            yield from Side.answers(filled, group)
