"""Score maps at another size, strip by strip, so that no large map is held whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Taps:
    """Which old samples each new one of an axis is mixed from.

    Attributes:
        left: Index of the one.
        right: Index of the other.
        share: How much of the other; 0 everywhere if new samples are old ones.
    """

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    share: NDArray[np.float64]

    @classmethod
    def bilinear(cls, before: int, after: int) -> Self:
        """Pixel centres at halves, edges held: PyTorch's ``align_corners=False``."""
        centres = ((np.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
        left = np.floor(centres).astype(np.intp)
        return cls(left, np.minimum(left + 1, before - 1), centres - left)

    @classmethod
    def nearest(cls, before: int, after: int) -> Self:
        """The old sample that each new one's centre lies in."""
        left = np.floor((np.arange(after) + 0.5) * before / after).astype(np.intp)
        return cls(left, left, np.zeros(after))

    def strip(self, start: int, stop: int) -> Self:
        """Those of the new samples from ``start`` to before ``stop``."""
        part = slice(start, stop)
        return type(self)(self.left[part], self.right[part], self.share[part])

    @property
    def span(self) -> tuple[int, int]:
        """The first old sample needed, and the one after the last."""
        return int(self.left[0]), int(self.right[-1]) + 1

    def shifted(self, by: int) -> Self:
        """The same, of samples counted from ``by``."""
        return type(self)(self.left - by, self.right - by, self.share)


def along(maps: Array, taps: Taps, axis: int) -> Array:
    """Maps resampled along one axis, of the same type."""
    moved = bool(taps.share.any())
    if not moved and np.array_equal(taps.left, np.arange(maps.shape[axis])):
        return maps
    # Clipping changes nothing here, and spares NumPy a buffer.
    mixed: Array = maps.take(taps.left, axis=axis, mode="clip")
    if moved:
        shape = [1] * maps.ndim
        shape[axis] = -1
        share = taps.share.astype(maps.dtype).reshape(shape)
        mixed += (maps.take(taps.right, axis=axis, mode="clip") - mixed) * share
    return mixed
