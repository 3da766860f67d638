"""Magnitudes of a tensor, counted as they stream by, in memory that never grows.

The span of a histogram is a power of two, the smallest above every magnitude seen. When a
larger value comes the span doubles and bins merge in pairs: their edges coincide, so no
count is ever guessed. Scaling by a power of two rounds nothing either. The counts are
therefore those of one histogram over all values at once, in whatever order they came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.errors import InputError

# The span is less than twice the largest magnitude, so at least half of them are in use.
BINS = 4096
# Values counted at once: their scratch copies stay in the processor's cache.
CHUNK = 1 << 15
# Spans below 2**-100 would need scales that float32 cannot hold.
SMALLEST_EXPONENT = -100

Counts = NDArray[np.int64]


@dataclass
class Histogram:
    """How often magnitudes fall in each of so many equal bins from 0 to ``span``.

    Attributes:
        counts: ``BINS`` numbers; bin i holds magnitudes from i to i + 1 widths.
        maximum: The largest magnitude, exactly.
        exponent: The span is two to this.
    """

    counts: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))
    maximum: float = 0.0
    exponent: int = SMALLEST_EXPONENT

    @property
    def span(self) -> float:
        """Where the last bin ends."""
        return math.ldexp(1.0, self.exponent)

    @property
    def width(self) -> float:
        """Of one bin."""
        return self.span / BINS

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def add(self, values: NDArray[Any]) -> None:
        """Count the magnitudes of floating values of any shape.

        Raises:
            InputError: One is infinite or no number; what came before it is counted.
        """
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        for start in range(0, flat.size, CHUNK):
            magnitudes = np.abs(flat[start : start + CHUNK])
            largest = float(magnitudes.max())
            if not math.isfinite(largest):
                raise InputError("a value is infinite or no number")
            self._reach(largest)
            magnitudes *= np.float32(1 / self.width)
            self.counts += np.bincount(magnitudes.astype(np.intp), minlength=BINS)

    def _reach(self, magnitude: float) -> None:
        """Double the span until it lies above the magnitude."""
        if magnitude <= self.maximum:
            return
        # frexp: a magnitude is below two to its exponent, and not below half of that.
        exponent = max(math.frexp(magnitude)[1], self.exponent)
        # Zeros lie in the first bin of any span. So does everything after as many doublings
        # as the number of bins has bits.
        doublings = exponent - self.exponent if self.maximum else 0
        for _ in range(min(doublings, BINS.bit_length())):
            self.counts = _halved(self.counts)
        self.maximum, self.exponent = magnitude, exponent


def _halved(counts: Counts) -> Counts:
    """Count over twice the span: merge bins in pairs, and add as many empty ones."""
    merged = np.zeros_like(counts)
    merged[: BINS // 2] = counts.reshape(-1, 2).sum(axis=1)
    return merged
