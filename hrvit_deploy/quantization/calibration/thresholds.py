"""From a histogram to the largest magnitude worth keeping: one function per method.

Quantization is symmetric with 8 bits: a range r becomes the steps -127..127 of r / 127.
What lies beyond is clipped, what lies within is rounded, and a smaller range trades one
error for the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.options import CalibrationOptions, Method
from hrvit_deploy.quantization.calibration.histogram import BINS, Histogram

Floats = NDArray[np.float64]

# Levels of the magnitudes that 8 bits can tell apart, as TensorRT's calibration counts.
LEVELS = 128
STEPS = 127
# The smallest range whose step, a 127th of it, float16 can hold. A tensor that is zero on
# every image gets it: any range keeps zeros, but no step may be zero.
SMALLEST_AMAX = STEPS * 2.0**-24
# Ranges that mse tries: so many evenly, on a histogram of so many times fewer bins, then so
# many around the best of those.
COARSE, COARSER, FINE = 48, 4, 33
# Bins between ranges that entropy tries, 0.1 % of the largest at most.
STRIDE = 2


def threshold(histogram: Histogram, options: CalibrationOptions) -> float:
    """Choose a range by that method: finite, above 0, at most the maximum unless that is tiny.

    It is the shortest decimal that float32 reads as the same number, so that files of
    ranges are short and a comparison of them shows true differences only.
    """
    choose: dict[Method, Callable[[Histogram], float]] = {
        Method.ENTROPY: entropy,
        Method.PERCENTILE: lambda counted: percentile(counted, options.percentile),
        Method.MINMAX: minmax,
        Method.MSE: mse,
    }
    amax = max(choose[options.method](histogram), SMALLEST_AMAX)
    return float(str(np.float32(amax)))


def minmax(histogram: Histogram) -> float:
    """Return the largest magnitude: nothing is clipped."""
    return histogram.maximum


def percentile(histogram: Histogram, percent: float) -> float:
    """Return the edge of the first bin up to which that share of magnitudes lies.

    Args:
        histogram: Of magnitudes.
        percent: Above 0, up to 100.
    """
    if not histogram.maximum:
        return 0.0
    below = np.cumsum(histogram.counts)
    bin_ = int(np.searchsorted(below, below[-1] * (percent / 100)))
    return min((min(bin_, BINS - 1) + 1) * histogram.width, histogram.maximum)


def entropy(histogram: Histogram) -> float:
    """Return the range whose 128 levels keep the most information about the magnitudes.

    For every range of at least 128 bins: P is the histogram within, with all beyond in its
    last bin; Q is the histogram within merged into 128 levels and spread again over those
    bins that were not empty. The range with the smallest Kullback-Leibler divergence of P
    from Q is kept. From: Szymon Migacz, 8-bit Inference with TensorRT, GTC 2017, slides
    25 to 34. Differences: exact zeros abound behind activations and any range keeps them,
    so the first bin counts as much as the second; and prefix sums give all ranges at once.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if last <= LEVELS:
        return histogram.maximum
    ends = np.arange(last, LEVELS - 1, -STRIDE)
    # Where the last bin holds the clipped alone, Q says nothing of them: infinitely far.
    ends = ends[counts[ends - 1] > 0]
    best = ends[np.argmin(_divergences(counts, ends))]
    return min(float(best) * histogram.width, histogram.maximum)


def _divergences(counts: Floats, ends: NDArray[np.intp]) -> Floats:
    """Compute the divergence of P from Q for ranges of so many bins each.

    With raw counts h, their sum S within the range, the number C beyond and T = S + C:
    the divergence is the sum of p log p, less that of p log q, where p = h / T (and C more
    in the last bin) and q = level's mean / S.
    """
    inside = _prefix(counts)
    filled = _prefix((counts > 0).astype(np.float64))
    logs = _prefix(_xlogx(counts))
    edges = -(-np.arange(LEVELS + 1) * ends[:, None] // LEVELS)
    sums = np.diff(inside[edges], axis=1)
    means = sums / np.maximum(np.diff(filled[edges], axis=1), 1)
    log_means = np.log(np.where(means > 0, means, 1))
    kept, total = inside[ends], inside[-1]
    clipped, final = total - kept, counts[ends - 1]
    own = logs[ends] - _xlogx(final) + _xlogx(final + clipped) - total * np.log(total)
    cross = (sums * log_means).sum(axis=1) + clipped * log_means[:, -1] - total * np.log(kept)
    divergences: Floats = (own - cross) / total
    return divergences


def mse(histogram: Histogram) -> float:
    """Return the range whose rounding and clipping err least in the mean square.

    Values are taken as spread evenly within their bins, over which both errors are
    integrated exactly. The maximum is among the ranges tried.
    """
    largest = histogram.maximum
    if not np.any(histogram.counts[1:]):
        return largest
    shares = np.arange(1, COARSE + 1) / COARSE
    best = _least(*_density(histogram, COARSER), largest * shares)
    around = best / largest + np.linspace(-1, 1, FINE) / COARSE
    around = around[(around > 0) & (around < 1)]
    return _least(*_density(histogram), np.append(largest * around, (best, largest)))


def _density(histogram: Histogram, merged: int = 1) -> tuple[Floats, Floats]:
    """Return counts per unit of magnitude in bins merged so, and the edges of those bins."""
    counts = histogram.counts.reshape(-1, merged).sum(axis=1).astype(np.float64)
    counts = np.trim_zeros(counts, "b")
    width = histogram.width * merged
    edges = np.arange(counts.size + 1) * width
    # The last bin ends where the values do, or a little later so that it has a width.
    edges[-1] = max(histogram.maximum, edges[-2] + width / 1000)
    return counts / np.diff(edges), edges


def _least(density: Floats, edges: Floats, ranges: Floats) -> float:
    errors = np.array([_squared_error(density, edges, float(r)) for r in ranges])
    return float(ranges[np.argmin(errors)])


def _squared_error(density: Floats, edges: Floats, amax: float) -> float:
    """Sum over all values, if each bin's lie evenly between its edges."""
    scale = STEPS / amax
    scaled = edges * scale
    nearest = np.rint(np.minimum(scaled, STEPS))
    off = scaled - nearest
    # From 0 to a value, the square of the distance to the nearest step integrates to a
    # twelfth for each step passed and a third of the cube of what is left; beyond the last
    # step the distance goes on growing, and the same cube is that integral.
    integral = nearest / 12 + off * off * off / 3
    return float(density @ (integral[1:] - integral[:-1])) / scale**3


def _prefix(values: Floats) -> Floats:
    """Return the sums of the first 0, 1, 2... values."""
    return np.concatenate(([0.0], np.cumsum(values)))


def _xlogx(values: Floats) -> Floats:
    """Return each number times its logarithm, and 0 at 0."""
    products: Floats = values * np.log(np.where(values > 0, values, 1))
    return products
