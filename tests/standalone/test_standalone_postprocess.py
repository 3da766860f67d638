"""Outputs become label maps and probabilities as PyTorch would make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hrvit_deploy.standalone import postprocess
from hrvit_deploy.standalone.postprocess import (
    UNDECIDED,
    WholeScoreMap,
    label_map,
    output_label_map,
    resize_class_map,
    softmax,
    winners,
)
from hrvit_deploy.standalone.resample import enlarge

SIZES = [(32, 48), (61, 99), (7, 5), (1, 1), (90, 20)]


def scores_of(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def interpolated(scores: Any, size: tuple[int, int]) -> Any:
    maps = torch.from_numpy(scores)[None]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].numpy()


def votes_of(class_map: Any, classes: int) -> Any:
    votes = (np.arange(classes)[:, None, None] == class_map).astype(np.float32)
    votes[:, (class_map < 0) | (class_map >= classes)] = np.nan
    return votes


def assert_same_but_ties(labels: Any, scores: Any) -> None:
    """Hold labels against scores, where the best two lie further apart than rounding."""
    first, second = -np.sort(-scores, axis=0)[:2]
    clear = first - second > 1e-5
    np.testing.assert_array_equal(labels[clear], scores.argmax(axis=0)[clear])
    assert clear.mean() > 0.99


@pytest.mark.parametrize("size", SIZES)
def test_scores_are_brought_to_the_image_as_pytorch_does(size: tuple[int, int]) -> None:
    scores = scores_of(6, 32, 48)
    labels = label_map([WholeScoreMap(scores)], size)
    assert labels.dtype == np.int32
    assert labels.shape == size
    assert_same_but_ties(labels, interpolated(scores, size))


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_strips_change_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    views = [WholeScoreMap(scores_of(6, 32, 48)), WholeScoreMap(scores_of(6, 20, 30))]
    whole = [label_map(views[:count], (61, 99)) for count in (1, 2)]
    monkeypatch.setattr(postprocess, "STRIP_SCORES", 6 * 99 * rows)
    for count, expected in enumerate(whole, 1):
        np.testing.assert_array_equal(label_map(views[:count], (61, 99)), expected)


def test_views_average_their_probabilities() -> None:
    views = [scores_of(6, 32, 48), 3 * scores_of(6, 20, 30)]
    labels = label_map([WholeScoreMap(view) for view in views], (61, 99))
    maps = [torch.from_numpy(interpolated(view, (61, 99))) for view in views]
    assert_same_but_ties(labels, np.sum([each.softmax(dim=0).numpy() for each in maps], axis=0))


def test_a_tie_goes_to_the_lower_class() -> None:
    assert winners(np.array([[1.0, 0], [1, 2], [0, 2]], np.float32)).tolist() == [0, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_decide_nothing(bad: float) -> None:
    scores = scores_of(6, 32, 48)
    scores[2, 4, 6] = bad
    labels = label_map([WholeScoreMap(scores)], (32, 48))
    assert labels[4, 6] == UNDECIDED
    assert (labels == UNDECIDED).sum() == 1
    by_row = winners(scores[None], axis=1)[0]
    np.testing.assert_array_equal(by_row, labels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_a_class_map_and_its_votes_decide_alike(size: tuple[int, int], dtype: type) -> None:
    class_map: Any = np.random.default_rng(0).integers(0, 8, (32, 48)).astype(dtype)
    labels = resize_class_map(class_map, size, 6)
    assert labels.dtype == np.int32
    votes = WholeScoreMap(votes_of(class_map, 6))
    np.testing.assert_array_equal(labels, label_map([votes], size, votes=True))
    # The pixel that each centre lies in, in whole numbers.
    rows, columns = (
        (2 * np.arange(after) + 1) * before // (2 * after)
        for before, after in zip((32, 48), size, strict=True)
    )
    nearest = class_map[rows][:, columns].astype(int)
    np.testing.assert_array_equal(labels, np.where(nearest < 6, nearest, UNDECIDED))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_output_format_gives_its_label_map(dtype: type) -> None:
    size, input_size = (61, 99), (32, 48)
    logits = scores_of(6, 32, 48).astype(dtype)
    expected = label_map([WholeScoreMap(logits.astype(np.float32))], size)
    labels = output_label_map(logits, "logits", input_size, size, 6)
    np.testing.assert_array_equal(labels, expected)

    quarter = scores_of(6, 8, 12).astype(dtype)
    whole = enlarge(quarter.astype(np.float32), input_size)
    labels = output_label_map(quarter, "logits-quarter", input_size, size, 6)
    np.testing.assert_array_equal(labels, label_map([WholeScoreMap(whole)], size))

    class_map = logits.argmax(axis=0)
    labels = output_label_map(class_map, "classmap", input_size, size, 5)
    np.testing.assert_array_equal(labels, resize_class_map(class_map, size, 5))
    assert (labels == UNDECIDED).any()


@pytest.mark.parametrize("shape", [(7,), (5, 8, 12)])
def test_softmax_is_pytorchs(shape: tuple[int, ...]) -> None:
    scores = 30 * scores_of(*shape)
    shares = softmax(scores)
    assert shares.dtype == np.float32
    expected = torch.from_numpy(scores).softmax(dim=0).numpy()
    np.testing.assert_allclose(shares, expected, rtol=1e-5, atol=1e-30)


def test_softmax_of_an_infinite_score_is_no_number() -> None:
    shares = softmax(np.array([np.inf, 0, 1], np.float32))
    assert np.isnan(shares).any()
