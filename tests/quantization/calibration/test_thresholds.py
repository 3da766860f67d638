"""Each method keeps what its definition says, found by slower means."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from hrvit_deploy.options import CalibrationOptions, Method
from hrvit_deploy.quantization.calibration import thresholds
from hrvit_deploy.quantization.calibration.histogram import BINS, Histogram
from hrvit_deploy.quantization.calibration.thresholds import (
    LEVELS,
    SMALLEST_AMAX,
    STEPS,
    entropy,
    minmax,
    mse,
    percentile,
    threshold,
)

Draw = Callable[[np.random.Generator, int], NDArray[Any]]
SHAPES: dict[str, Draw] = {
    "uniform": lambda random, count: random.uniform(-1, 1, count),
    "normal": lambda random, count: random.standard_normal(count),
    "laplace": lambda random, count: random.laplace(size=count),
    "heavy": lambda random, count: random.standard_t(3, count),
    "relu": lambda random, count: np.maximum(random.standard_normal(count), 0),
    "two scales": lambda random, count: (
        random.standard_normal(count) * np.where(random.random(count) < 0.001, 50, 1)
    ),
}
EVERY = [CalibrationOptions(method) for method in Method]


def draw(shape: str, count: int = 100_000, seed: int = 0) -> NDArray[np.float32]:
    return SHAPES[shape](np.random.default_rng(seed), count).astype(np.float32)


def counted(values: NDArray[Any]) -> Histogram:
    histogram = Histogram()
    histogram.add(values)
    return histogram


def error(values: NDArray[Any], amax: float) -> float:
    """Mean square of what eight bits with that range lose of the values themselves."""
    exact = values.astype(np.float64)
    scale = amax / STEPS
    kept = np.clip(np.rint(exact / scale), -STEPS, STEPS) * scale
    return float(np.square(kept - exact).mean())


def divergence(counts: NDArray[np.int64], end: int) -> float:
    """Of a range of so many bins, step by step as the slides have it."""
    counts = counts.astype(np.float64)
    counts[0] = counts[1]
    p = counts[:end].copy()
    p[-1] += counts[end:].sum()
    q = np.zeros(end)
    level = [bin_ * LEVELS // end for bin_ in range(end)]
    for number in range(LEVELS):
        members = [b for b in range(end) if level[b] == number and counts[b] > 0]
        if members:
            q[members] = sum(counts[b] for b in members) / len(members)
    p, q = p / p.sum(), q / q.sum()
    if np.any((p > 0) & (q == 0)):
        return float("inf")
    filled = p > 0
    return float((p[filled] * np.log(p[filled] / q[filled])).sum())


@given(
    arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(2**-10, 2**100, width=32)),
    st.sampled_from(EVERY),
)
@settings(max_examples=60, deadline=None)
def test_a_range_is_positive_and_at_most_the_maximum(
    values: NDArray[np.float32], options: CalibrationOptions
) -> None:
    largest = float(np.abs(values).max())

    amax = threshold(counted(values), options)

    assert 0 < np.float32(amax) <= largest
    if options.method is Method.MINMAX:
        assert np.float32(amax) == np.float32(largest)


@pytest.mark.parametrize("options", EVERY, ids=lambda o: str(o.method))
@pytest.mark.parametrize("values", [[], [0.0], [0.0] * 100, [1e-30, -1e-35], [1e-44]])
def test_zeros_get_the_smallest_range(options: CalibrationOptions, values: list[float]) -> None:
    amax = threshold(counted(np.array(values, np.float32)), options)

    assert amax == pytest.approx(SMALLEST_AMAX)
    assert np.float16(amax / STEPS) > 0


@pytest.mark.parametrize("options", EVERY, ids=lambda o: str(o.method))
def test_one_value_is_its_own_range(options: CalibrationOptions) -> None:
    histogram = counted(np.full(1000, -3.7, np.float32))

    # Within the width of the bin that the value lies in.
    assert threshold(histogram, options) == pytest.approx(3.7, abs=histogram.width)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("percent", [51.0, 90.0, 99.0, 99.9, 99.999, 100.0])
def test_percentile_is_numpys(shape: str, percent: float) -> None:
    magnitudes = np.abs(draw(shape))
    histogram = counted(magnitudes)

    amax = percentile(histogram, percent)

    exact = np.percentile(magnitudes, percent, method="inverted_cdf")
    assert exact - histogram.width / 100 <= amax <= exact + histogram.width
    assert (magnitudes <= amax).mean() >= percent / 100 - 1e-9


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_is_the_smallest_divergence(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    histogram = counted(draw(shape, 20_000))
    # By hand each range takes a millisecond: a few of them have to do.
    monkeypatch.setattr(thresholds, "STRIDE", 173)
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    last = int(np.flatnonzero(counts)[-1]) + 1
    ends = np.array([end for end in range(last, LEVELS - 1, -173) if counts[end - 1] > 0])
    divergences = [divergence(histogram.counts, end) for end in ends]

    np.testing.assert_allclose(thresholds._divergences(counts, ends), divergences, atol=1e-9)
    best = float(ends[int(np.argmin(divergences))])
    assert entropy(histogram) == min(best * histogram.width, histogram.maximum)


def test_entropy_keeps_an_even_spread_and_clips_a_long_tail() -> None:
    even, tailed = counted(draw("uniform", 10**6)), counted(draw("heavy", 10**6))

    assert entropy(even) > 0.995 * even.maximum
    assert entropy(tailed) < 0.5 * tailed.maximum


def test_entropy_does_not_mind_zeros() -> None:
    values = draw("normal")

    assert entropy(counted(np.append(values, np.zeros(10**6)))) == entropy(counted(values))


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_errs_no_more_than_any_other_method(shape: str) -> None:
    values = draw(shape)
    histogram = counted(values)

    least = error(values, mse(histogram))

    for amax in (
        minmax(histogram),
        entropy(histogram),
        *(percentile(histogram, percent) for percent in (99, 99.9, 99.99, 99.999)),
        *(histogram.maximum * np.arange(1, 200) / 200),
    ):
        # Within a thousandth: bins and the grid of ranges have a width.
        assert least <= error(values, float(amax)) * 1.001


@given(
    st.sampled_from(sorted(SHAPES)),
    st.integers(0, 2**32),
    st.floats(1e-3, 1e3),
    st.integers(1, 20_000),
)
@settings(max_examples=40, deadline=None)
def test_mse_never_errs_more_than_the_full_range(
    shape: str, seed: int, scale: float, count: int
) -> None:
    values = draw(shape, count, seed) * np.float32(scale)
    histogram = counted(values)

    # What a histogram cannot tell is where in its bins the values lie.
    slack = histogram.width**2
    best, full = (
        threshold(histogram, CalibrationOptions(method))
        for method in (Method.MSE, Method.MINMAX)
    )
    assert error(values, best) <= error(values, full) + slack


def test_mse_integrates_its_error_exactly() -> None:
    random = np.random.default_rng(0)
    edges = np.linspace(0, 2, 65)
    weights = random.integers(0, 9, 64).astype(np.float64)
    density = weights / np.diff(edges)
    # Evenly spread values, many to a bin.
    offsets = (np.arange(2000) + 0.5) / 2000
    for amax in (0.3, 1.0, 1.99, 2.0):
        values = edges[:-1, None] + np.diff(edges)[:, None] * offsets
        scale = amax / STEPS
        off = np.clip(np.rint(values / scale), -STEPS, STEPS) * scale - values
        expected = float(weights @ np.square(off).mean(1))
        found = thresholds._squared_error(density, edges, amax)
        assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("merged", [1, 4])
def test_the_last_bin_ends_where_the_values_do(merged: int) -> None:
    histogram = counted(np.array([0.1, 0.7003, 0.7004], np.float32))

    density, edges = thresholds._density(histogram, merged)

    assert edges[-1] == histogram.maximum
    np.testing.assert_allclose((density * np.diff(edges)).sum(), 3)


@pytest.mark.parametrize("method", Method)
def test_scaling_values_by_a_power_of_two_scales_the_range(method: Method) -> None:
    values = draw("laplace")
    options = CalibrationOptions(method)

    small = threshold(counted(values), options)
    large = threshold(counted(values * np.float32(64)), options)

    assert large == pytest.approx(64 * small, rel=1e-6)


def test_percentile_takes_its_option() -> None:
    histogram = counted(draw("normal"))
    options = CalibrationOptions(Method.PERCENTILE, percentile=99.0)

    assert threshold(histogram, options) < threshold(
        histogram, replace(options, percentile=99.9)
    )


def test_a_range_is_a_short_number() -> None:
    histogram = counted(np.array([0.1, 3.3], np.float32))

    assert threshold(histogram, CalibrationOptions(Method.MINMAX)) == 3.3


@pytest.mark.parametrize("method", Method)
def test_it_is_quick(method: Method) -> None:
    # The worst case: every bin is in use.
    histogram = counted(np.arange(1, 4 * BINS, dtype=np.float32) / (4 * BINS))
    assert np.count_nonzero(histogram.counts) == BINS
    seconds = []
    for _ in range(5):
        start = time.process_time()
        threshold(histogram, CalibrationOptions(method))
        seconds.append(time.process_time() - start)

    assert min(seconds) < 0.03
