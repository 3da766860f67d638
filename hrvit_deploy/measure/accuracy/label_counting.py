"""Whether labels mean what they are read as: counted from 0 or from 1, seen in their fit.

Many sets write their first class as 1 and leave 0 unlabelled, which trainers call
``reduce_zero_label``; others write it as 0. Read the wrong way, every class is taken for its
neighbour, and the figures are those of chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.datasets import FIRST_LABELS
from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix

# The other counting is clearly better: by so many times, and by so much of mIoU at least.
TIMES, MORE = 2.0, 0.03


def doubt_counting(
    confusion: ConfusionMatrix, unlabelled: NDArray[np.int64], labels_from: int | None
) -> str | None:
    """Describe how labels seem to be counted the other way; None where they do not.

    Args:
        confusion: Of pixels, with labels as they were read.
        unlabelled: ``C`` predicted classes of the pixels whose label is 0, where labels are
            counted from 1.
        labels_from: The number of the first class; None where label ids were mapped.
    """
    if labels_from is None:
        return None
    other = _counted_otherwise(confusion, unlabelled, labels_from)
    ours, theirs = confusion.miou, 0.0 if other is None else other.miou
    if not theirs > max(TIMES * ours, ours + MORE):
        return None
    better = next(first for first in FIRST_LABELS if first != labels_from)
    return (
        f"with labels counted from {labels_from} the mIoU is {ours:.4f}, and counted from"
        f" {better} it is {theirs:.4f}: give --labels-from {better}"
    )


def doubt_one_class(confusion: ConfusionMatrix) -> str | None:
    """Describe labels of one class alone, which any answer of that class meets; or None.

    Masks with the object as 255 end so: its pixels are read as unlabelled.
    """
    labelled = np.flatnonzero(confusion.counts.sum(axis=1) + confusion.undecided)
    if len(labelled) != 1 or len(confusion.counts) == 1:
        return None
    return (
        f"all labels are of one class, number {labelled[0]} from 0 on, so the figures tell"
        " nothing: 255 counts as unlabelled; if it stands for a class, write that class's"
        " number instead"
    )


def _counted_otherwise(
    confusion: ConfusionMatrix, unlabelled: NDArray[np.int64], labels_from: int
) -> ConfusionMatrix | None:
    """Return the same counts with each label one up or down; None where it cannot be so."""
    shifted = ConfusionMatrix(len(confusion.counts))
    if labels_from == 0:
        # The first class would be unlabelled, and the last one never occurs.
        shifted.counts[:-1] = confusion.counts[1:]
        shifted.undecided[:-1] = confusion.undecided[1:]
        return shifted
    if confusion.counts[-1].any() or confusion.undecided[-1]:
        return None  # The last label would be no class of the network.
    shifted.counts[0] = unlabelled
    shifted.counts[1:] = confusion.counts[:-1]
    shifted.undecided[1:] = confusion.undecided[:-1]
    return shifted
