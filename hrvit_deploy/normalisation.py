"""Means and deviations that cannot be meant, or that look like a mistake often made."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD

WHITE = 255
# Rounded in many ways where people write them down: 123.675, 123.68, 124.
CLOSE = 0.02


def check_scale(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse means and deviations of images in 0..1 where images are in 0..255.

    Pixels unchanged, means of 0 and deviations of 1, are not refused: networks are trained
    so on either scale.

    Raises:
        UsageError: They are; the hint has them times 255.
    """
    of_mean = any(mean) and all(abs(value) <= 1 for value in mean)
    of_std = all(value < 1 for value in std)
    if not (of_mean or of_std):
        return
    ones = all(value <= 1 for value in std)
    better_mean = times_white(mean) if of_mean else written(mean)
    better_std = times_white(std) if of_std or (of_mean and ones) else written(std)
    raise UsageError(
        f"a mean of {written(mean)} and a deviation of {written(std)} are of images in 0..1,"
        f" and images are 0..{WHITE} here",
        f"give both on that scale: --mean {better_mean} --std {better_std}",
    )


def doubts_about(mean: Sequence[float], std: Sequence[float]) -> list[str]:
    """Describe what looks like a mistake, and how to mend it; most often nothing."""
    doubts = []
    if not any(mean) and all(value == 1 for value in std):
        doubts.append(
            f"a mean of 0 and a deviation of 1 leave pixels as they are, 0 to {WHITE}; for a"
            f" network trained on 0 to 1 give --mean 0,0,0 --std {WHITE},{WHITE},{WHITE}"
        )
    if _close(mean, IMAGENET_MEAN[::-1]):
        doubts.append(
            f"a mean of {written(mean)} is ImageNet's as blue, green, red; give red first:"
            f" --mean {written(IMAGENET_MEAN)}. Images are always RGB here: for a network"
            " trained on BGR, turn the input channels of its first convolution round first"
        )
    if _close(mean, IMAGENET_STD) and _close(std, IMAGENET_MEAN):
        doubts.append(
            f"the mean is ImageNet's deviation and the deviation its mean; give --mean"
            f" {written(IMAGENET_MEAN)} --std {written(IMAGENET_STD)}"
        )
    return doubts


def written(values: Sequence[float]) -> str:
    """Write numbers as the options take them."""
    return ",".join(f"{value:g}" for value in values)


def times_white(values: Sequence[float]) -> str:
    """Write numbers of the scale 0..1 as they are on the scale 0..255."""
    return written([value * WHITE for value in values])


def _close(values: Sequence[float], others: Sequence[float]) -> bool:
    return len(values) == len(others) and all(
        math.isclose(one, other, rel_tol=CLOSE)
        for one, other in zip(values, others, strict=True)
    )
