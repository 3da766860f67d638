"""Maps change their size as PyTorch's do, whole or in strips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hrvit_deploy.standalone.resample import Taps, along

SIZES = [(7, 7), (7, 20), (20, 7), (10, 9), (9, 10), (1, 5), (5, 1)]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_bilinear_is_pytorchs(before: int, after: int) -> None:
    line = np.random.default_rng(0).normal(size=(2, 3, before)).astype(np.float32)
    theirs = F.interpolate(
        torch.from_numpy(line), size=after, mode="linear", align_corners=False
    )
    ours = along(line, Taps.bilinear(before, after), axis=2)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_nearest_is_pytorchs_exact_one(before: int, after: int) -> None:
    line = np.arange(before, dtype=np.float32)[None, None]
    theirs = F.interpolate(torch.from_numpy(line), size=after, mode="nearest-exact")
    np.testing.assert_array_equal(along(line, Taps.nearest(before, after), 2), theirs.numpy())


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("height", [1, 2, 3])
def test_strips_make_up_the_whole(before: int, after: int, height: int) -> None:
    maps = np.random.default_rng(1).normal(size=(2, before, 3)).astype(np.float32)
    taps = Taps.bilinear(before, after)
    strips = []
    for start in range(0, after, height):
        part = taps.strip(start, start + height)
        first, last = part.span
        strips.append(along(maps[:, first:last], part.shifted(first), axis=1))
    np.testing.assert_array_equal(np.concatenate(strips, axis=1), along(maps, taps, axis=1))
