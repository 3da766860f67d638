"""Counts that stream by are those of one histogram over everything."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from hrvit_deploy.errors import InputError
from hrvit_deploy.quantization.calibration.histogram import BINS, CHUNK, Histogram

Floats = NDArray[np.float32]
VALUES = arrays.arrays(
    np.float32,
    st.integers(0, 50),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def counted(*parts: NDArray[Any]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


@given(st.lists(VALUES, max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_neither_pieces_nor_order_change_a_count(parts: list[Floats], random: Any) -> None:
    whole = counted(np.concatenate([np.zeros(0, np.float32), *parts]))
    random.shuffle(parts)

    pieces = counted(*parts)

    np.testing.assert_array_equal(pieces.counts, whole.counts)
    assert (pieces.maximum, pieces.exponent) == (whole.maximum, whole.exponent)
    assert pieces.total == sum(part.size for part in parts)


@given(st.lists(VALUES, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_counts_are_numpys(parts: list[Floats]) -> None:
    histogram = counted(*parts)
    magnitudes = np.abs(np.concatenate(parts)).astype(np.float64)

    expected, _ = np.histogram(magnitudes, bins=BINS, range=(0, histogram.span))

    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.maximum == max(magnitudes, default=0)
    assert histogram.maximum < histogram.span


def test_half_of_the_bins_are_in_use() -> None:
    for largest in (1.0, 0.999, 1.001, 3e-20, 7e30):
        histogram = counted(np.array([largest, -largest / 3], np.float32))
        assert np.flatnonzero(histogram.counts)[-1] >= BINS // 2


def test_growth_by_any_factor_keeps_every_value() -> None:
    small, large = np.full(CHUNK + 3, 1e-30), np.array([-3e38, 0])

    histogram = counted(small, large, small)

    assert histogram.total == 2 * (CHUNK + 3) + 2
    assert histogram.counts[0] == 2 * (CHUNK + 3) + 1
    assert histogram.maximum == np.float32(3e38)


def test_shape_stride_and_type_do_not_matter() -> None:
    values = np.random.default_rng(0).standard_normal((4, 6, 10))

    turned = counted(values.transpose(2, 0, 1)[::-1])

    np.testing.assert_array_equal(
        turned.counts, counted(values.astype(np.float32).ravel()).counts
    )


def test_values_are_left_as_they_were() -> None:
    values = np.array([-1, 2, -3], np.float32)

    counted(values)

    np.testing.assert_array_equal(values, [-1, 2, -3])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, CHUNK - 1, CHUNK, 2 * CHUNK])
def test_what_is_no_number_is_refused(broken: float, place: int) -> None:
    values = np.ones(2 * CHUNK + 1, np.float32)
    values[place] = broken

    with pytest.raises(InputError):
        counted(values)


def test_memory_does_not_grow() -> None:
    histogram = counted(np.ones(10))
    values = np.random.default_rng(0).standard_normal(20 * CHUNK).astype(np.float32)
    tracemalloc.start()
    try:
        for scale in (1, 10, 100):
            histogram.add(values * np.float32(scale))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 4 * histogram.counts.nbytes
    assert peak < 2 * values.nbytes
