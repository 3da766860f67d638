"""Which variant a checkpoint is of, by the shapes of its backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from hrvit_deploy.model.hrvit import HRViT
from hrvit_deploy.model.shown import first
from hrvit_deploy.model.variants import VARIANTS, Variant
from hrvit_deploy.model.weight_names import ANCHOR, BACKBONE_PARTS

# A whole number that inference never reads; old checkpoints lack it.
COUNTER = "num_batches_tracked"
Shapes = Mapping[str, tuple[int, ...]]


@lru_cache(maxsize=8)
def backbone_shapes(variant: Variant, in_channels: int) -> Shapes:
    """Return the shapes of a backbone's weights by name."""
    with torch.device("meta"):
        state = HRViT(variant, in_channels).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def channels_of(tensors: Mapping[str, Tensor]) -> int:
    """Return the channels of the images that a network takes; 3 where that cannot be told."""
    shape = tensors[ANCHOR].shape if ANCHOR in tensors else ()
    return int(shape[1]) if len(shape) == 4 and shape[1] else 3


def backbone_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the backbone alone."""
    return {name: t for name, t in tensors.items() if name.startswith(BACKBONE_PARTS)}


def fits(variant: Variant, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a checkpoint's backbone is one of that variant."""
    return not _misfits(variant, tensors)


def recognize(tensors: Mapping[str, Tensor], known: Iterable[Variant] = ()) -> Variant | None:
    """Return the variant that a checkpoint is of, or None for none that is known."""
    for variant in (*known, *VARIANTS.values()):
        if fits(variant, tensors):
            return variant
    return None


def nearest(tensors: Mapping[str, Tensor]) -> tuple[Variant, str]:
    """Return the variant that fits best, and what does not fit."""
    misfits = {variant: _misfits(variant, tensors) for variant in VARIANTS.values()}
    best = min(misfits, key=lambda variant: len(misfits[variant]))
    return best, first(misfits[best])


def _misfits(variant: Variant, tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names that lack, that are too many, or whose shapes differ."""
    expected = backbone_shapes(variant, channels_of(tensors))
    held = {name: tuple(tensor.shape) for name, tensor in backbone_of(tensors).items()}
    return [
        name
        for name in (*expected, *(other for other in held if other not in expected))
        if held.get(name) != expected.get(name)
        and not (name.endswith(COUNTER) and name not in held)
    ]
