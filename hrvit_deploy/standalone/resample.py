"""Bring maps to another size, along one axis at a time, so that strips can be made alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Taps:
    """Which two old samples each new sample of an axis is mixed from.

    Attributes:
        left: Index of the first old sample.
        right: Index of the second.
        share: Share of the second, from 0 to 1; 0 everywhere if new samples are old ones.
    """

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    share: NDArray[np.float64]

    @classmethod
    def bilinear(cls, before: int, after: int) -> Taps:
        """Mix the two nearest samples: PyTorch's bilinear with ``align_corners=False``.

        Pixel centres lie at halves, and the samples at the edges are repeated outwards.
        """
        centres = ((np.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
        left = np.floor(centres).astype(np.intp)
        return cls(left, np.minimum(left + 1, before - 1), centres - left)

    @classmethod
    def nearest(cls, before: int, after: int) -> Taps:
        """Take the sample that the centre of the new one lies in."""
        left = np.floor((np.arange(after) + 0.5) * before / after).astype(np.intp)
        return cls(left, left, np.zeros(after))

    def strip(self, start: int, stop: int) -> Taps:
        """Select the new samples from ``start`` to before ``stop``."""
        part = slice(start, stop)
        return type(self)(self.left[part], self.right[part], self.share[part])

    @property
    def span(self) -> tuple[int, int]:
        """Return the first old sample needed, and the one after the last."""
        return int(self.left[0]), int(self.right[-1]) + 1

    def shifted(self, by: int) -> Taps:
        """Count the old samples from ``by`` instead of 0."""
        return type(self)(self.left - by, self.right - by, self.share)


def along(maps: Array, taps: Taps, axis: int) -> Array:
    """Resample maps along one axis, in their own type."""
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


def enlarge(maps: Array, size: tuple[int, int]) -> Array:
    """Interpolate maps bilinearly to a larger size, first down and then across.

    The result is that of PyTorch's ``interpolate(mode="bilinear", align_corners=False)``.

    Args:
        maps: ``... x h x w``.
        size: The height and width to reach.

    Returns:
        ``... x H x W`` of the same type.
    """
    rows = along(maps, Taps.bilinear(maps.shape[-2], size[0]), axis=-2)
    return along(rows, Taps.bilinear(maps.shape[-1], size[1]), axis=-1)
