"""How often each class was taken for each other: the figures of semantic segmentation.

Definitions are those of the PASCAL VOC, Cityscapes and ADE20K benchmarks: intersection
over union per class, summed over all pixels of all images before dividing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ConfusionMatrix:
    """Counts of pixels (or images) by true and by predicted class.

    Attributes:
        counts: ``C x C`` int64; rows are the true classes, columns the predicted ones.
        undecided: ``C`` int64, how many of each true class got no class at all: scores
            that were not finite, or a class the labels do not know. They are wrong.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.undecided = np.zeros(num_classes, np.int64)

    def add(
        self, truth: NDArray[Any], predicted: NDArray[Any], ignore_index: int = 255
    ) -> None:
        """Count one map or batch.

        Args:
            truth: Class indices of any shape; those of ``ignore_index`` are not counted.
            predicted: Class indices of the same shape; any outside the classes is wrong.
            ignore_index: What the labels say where nothing is to be judged.
        """
        classes = len(self.counts)
        labelled = truth != ignore_index
        rows = truth[labelled].astype(np.int64)
        columns = predicted[labelled].astype(np.int64)
        known = (columns >= 0) & (columns < classes)
        flat = np.bincount(rows[known] * classes + columns[known], minlength=classes**2)
        self.counts += flat.reshape(classes, classes)
        self.undecided += np.bincount(rows[~known], minlength=classes)

    @property
    def total(self) -> int:
        """How many pixels were judged."""
        return int(self.counts.sum() + self.undecided.sum())

    @property
    def accuracy(self) -> float:
        """The share of judged pixels that are right; NaN where none was."""
        return float(np.trace(self.counts) / self.total) if self.total else float("nan")

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class; NaN where it neither is nor was predicted."""
        right = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) + self.undecided - right
        shares: NDArray[np.float64] = np.full_like(right, np.nan)
        np.divide(right, union, out=shares, where=union > 0)
        return shares

    @property
    def miou(self) -> float:
        """The mean over the classes that occur; NaN where none does."""
        present = self.iou[~np.isnan(self.iou)]
        return float(present.mean()) if len(present) else float("nan")

    @property
    def constant_miou(self) -> float:
        """The mIoU of the best answer that is one class everywhere; NaN without labels."""
        classes = int((self._labelled > 0).sum())
        return self.constant_accuracy / classes if classes else float("nan")

    @property
    def constant_accuracy(self) -> float:
        """The accuracy of the best answer that is one class everywhere; NaN without labels."""
        return float(self._labelled.max() / self.total) if self.total else float("nan")

    @property
    def _labelled(self) -> NDArray[np.int64]:
        """How often each class is in the labels."""
        labelled: NDArray[np.int64] = self.counts.sum(axis=1) + self.undecided
        return labelled
