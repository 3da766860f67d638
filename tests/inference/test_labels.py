"""Every output format is reduced to the decisions it stands for."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hrvit_deploy.inference.labels import UNDECIDED, labels_of
from hrvit_deploy.options import ImageSize, OutputFormat
from hrvit_deploy.standalone.resample import enlarge

SIZE = ImageSize(32, 64)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_scores_are_decided_per_image(dtype: type) -> None:
    scores: NDArray[Any] = np.array([[0, 2, 1], [5, 2, 1]]).astype(dtype)
    assert labels_of(scores, OutputFormat.LOGITS, SIZE).tolist() == [1, 0]
    assert labels_of(scores, OutputFormat.PROBABILITIES, SIZE).tolist() == [1, 0]


def test_scores_are_decided_per_pixel() -> None:
    scores = np.zeros((1, 4, 32, 64), np.float32)
    scores[0, 3, 5, 7] = 1
    labels = labels_of(scores, OutputFormat.LOGITS, SIZE)
    assert labels.shape == (1, 32, 64)
    assert labels[0, 5, 7] == 3
    assert labels.sum() == 3


def test_a_class_map_is_what_it_is() -> None:
    classes = np.full((1, 32, 64), 255, np.uint8)
    labels = labels_of(classes, OutputFormat.CLASSMAP, SIZE)
    assert labels.dtype == np.int32
    assert labels.min() == labels.max() == 255


def test_quarter_size_scores_decide_at_full_size_as_the_network_would() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 5, 8, 16)).astype(np.float32)
    full = F.interpolate(
        torch.from_numpy(scores), size=tuple(SIZE), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(enlarge(scores, SIZE), full.numpy(), atol=1e-6)
    quarter = labels_of(scores, OutputFormat.LOGITS_QUARTER, SIZE)
    np.testing.assert_array_equal(quarter, full.argmax(dim=1).numpy())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_decides_nothing(bad: float) -> None:
    scores = np.array([[0, bad, 1], [5, 2, 1]], np.float32)
    assert labels_of(scores, OutputFormat.LOGITS, SIZE).tolist() == [UNDECIDED, 0]
