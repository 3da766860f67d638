"""Means and deviations of another scale or order are refused or doubted, others taken."""

from __future__ import annotations

import pytest

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.errors import UsageError
from hrvit_deploy.normalisation import doubts_about
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, ImageSize

SMALL = ImageSize(32, 32)
HALF, ONE, NOUGHT = (0.5,) * 3, (1.0,) * 3, (0.0,) * 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IN_255 = "--mean 123.675,116.28,103.53 --std 58.395,57.12,57.375"


@pytest.mark.parametrize(
    ("mean", "std", "mend"),
    [
        (MEAN, STD, IN_255),
        (MEAN, IMAGENET_STD, IN_255),
        (IMAGENET_MEAN, STD, IN_255),
        (HALF, HALF, "--mean 127.5,127.5,127.5 --std 127.5,127.5,127.5"),
        (HALF, ONE, "--mean 127.5,127.5,127.5 --std 255,255,255"),
        (NOUGHT, (1 / 255,) * 3, "--mean 0,0,0 --std 1,1,1"),
        ((-1.0, 0.0, 0.0), ONE, "--mean -255,0,0 --std 255,255,255"),
    ],
)
def test_the_scale_of_0_to_1_is_refused_with_the_values_times_255(
    mean: tuple[float, ...], std: tuple[float, ...], mend: str
) -> None:
    with pytest.raises(UsageError) as refused:
        Preparation(SMALL, mean=mean, std=std)
    assert "0..1" in refused.value.message
    assert refused.value.hint.endswith(mend)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (IMAGENET_MEAN, IMAGENET_STD),
        (NOUGHT, (255.0,) * 3),
        (IMAGENET_MEAN, ONE),  # Caffe's
        ((127.5,) * 3, (127.5,) * 3),
        ((0.0, 0.0, 90.0), (0.5, 1.0, 30.0)),
    ],
)
def test_what_networks_are_trained_on_is_taken_without_a_word(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    assert Preparation(SMALL, mean=mean, std=std).mean == mean
    assert doubts_about(mean, std) == []


@pytest.mark.parametrize(
    ("mean", "std", "mend"),
    [
        (NOUGHT, ONE, "--std 255,255,255"),
        (IMAGENET_MEAN[::-1], IMAGENET_STD[::-1], "--mean 123.675,116.28,103.53"),
        ((103.5, 116.3, 123.7), ONE, "BGR"),
        (IMAGENET_STD, IMAGENET_MEAN, IN_255),
    ],
)
def test_what_may_be_meant_but_is_most_often_a_mistake_is_doubted(
    mean: tuple[float, ...], std: tuple[float, ...], mend: str
) -> None:
    assert Preparation(SMALL, mean=mean, std=std).std == std
    (doubt,) = doubts_about(mean, std)
    assert mend in doubt
