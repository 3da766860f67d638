"""What the mean over classes counts."""

from __future__ import annotations

import numpy as np
import pytest

from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix


def counted(truth: list[int], predicted: list[int]) -> ConfusionMatrix:
    matrix = ConfusionMatrix(4)
    matrix.add(np.array(truth), np.array(predicted))
    return matrix


def test_an_absent_class_has_no_share_in_the_mean() -> None:
    matrix = counted([0, 0, 1, 1], [0, 0, 1, 0])
    assert np.isnan(matrix.iou[2:]).all()
    assert matrix.miou == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_that_is_only_predicted_counts_as_missed() -> None:
    matrix = counted([0, 0, 1, 1], [0, 0, 1, 3])
    assert matrix.iou[3] == 0
    assert matrix.miou == pytest.approx((1 + 1 / 2 + 0) / 3)
