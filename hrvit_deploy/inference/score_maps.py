"""Score maps of images of any size, read from top to bottom, a strip at a time.

A score map is one view of a picture: stretched, padded or seen through windows, mirrored or
not, at one scale. Only the rows in use are kept, so that a picture may be large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.images import NamedImage, Pixels
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.options import ImageSize, OutputFormat
from hrvit_deploy.standalone import postprocess
from hrvit_deploy.standalone.postprocess import ScoreMap, WholeScoreMap
from hrvit_deploy.standalone.preprocess import resize
from hrvit_deploy.standalone.resample import enlarge

Scores = postprocess.Scores


class WindowScoreMap:
    """Mean scores of overlapping windows, computed a row of windows at a time."""

    def __init__(
        self,
        prepared: PreparedRunner,
        pixels: Pixels,
        classes: int,
        stride: ImageSize,
        *,
        mirrored: bool = False,
    ) -> None:
        """Lay windows over ``H x W x 3`` pixels, smaller ones filled up to one window."""
        self.size, self.classes = ImageSize(*pixels.shape[:2]), classes
        self._prepared, self._mirrored = prepared, mirrored
        self._window = prepared.preparation.size
        self._pixels = fill_up(pixels, self._window, prepared.preparation)
        extents = self._pixels.shape[:2]
        steps = zip(extents, self._window, stride, strict=True)
        self._tops, self._lefts = (window_starts(*step) for step in steps)
        self._next = 0  # row of windows to run
        self._first = 0  # row of the picture that the sums begin with
        self._sums = np.zeros((classes, 0, extents[1]), np.float32)
        # Windows over each column and over each row; their product is those over a pixel.
        self._over = [
            coverage(starts, length, extent).astype(np.float32)
            for starts, length, extent in zip(
                (self._tops, self._lefts), self._window, extents, strict=True
            )
        ]

    def rows(self, start: int, stop: int) -> Scores:
        while self._next < len(self._tops) and self._tops[self._next] < stop:
            self._add_windows(start)
        sums = self._sums[:, start - self._first : stop - self._first]
        rows, columns = self._over[0][start:stop, None], self._over[1]
        mean: Scores = (sums / (rows * columns))[:, :, : self.size.width]
        return mean[:, :, ::-1] if self._mirrored else mean

    def _add_windows(self, start: int) -> None:
        """Run the next row of windows; sums of rows above ``start`` are dropped."""
        top = self._tops[self._next]
        height, width = self._window
        self._next += 1
        if top + height <= start:
            return  # these rows are not read
        kept = self._sums[:, max(0, start - self._first) :]
        self._first = max(self._first, start)
        rows = top + height - self._first
        self._sums = np.zeros((self.classes, rows, self._pixels.shape[1]), np.float32)
        self._sums[:, : kept.shape[1]] = kept
        windows = [
            NamedImage(f"{top}-{left}", self._pixels[top : top + height, left : left + width])
            for left in self._lefts
        ]
        outputs = self._prepared.outputs(windows)
        for left, output in zip(self._lefts, outputs, strict=True):
            scores = scores_of(output, self._prepared, self.classes)
            skipped = max(0, self._first - top)
            target = self._sums[:, top + skipped - self._first :, left : left + width]
            target += scores[:, skipped:]


def window_starts(extent: int, window: int, stride: int) -> list[int]:
    """Return where windows begin along an axis, the last one moved back to end with it."""
    last = max(extent - window, 0)
    return [min(start, last) for start in range(0, last + stride, stride)]


def coverage(starts: Sequence[int], window: int, extent: int) -> NDArray[np.int64]:
    """Count the windows that lie over each of the ``extent`` pixels of an axis."""
    edges = np.zeros(max(extent, starts[-1] + window) + 1, np.int64)
    np.add.at(edges, np.asarray(starts), 1)
    np.add.at(edges, np.asarray(starts) + window, -1)
    return edges.cumsum()[:extent]


def scores_of(output: NDArray[Any], prepared: PreparedRunner, classes: int) -> Scores:
    """Return one output as ``C x H x W`` scores of the input's size.

    A class map gives one vote a pixel; an index that is no class gives NaN.
    """
    size = prepared.preparation.size
    if prepared.output_format is OutputFormat.CLASSMAP:
        indices = output[0].astype(np.int64)
        votes: Scores = (np.arange(classes)[:, None, None] == indices).astype(np.float32)
        votes[:, (indices < 0) | (indices >= classes)] = np.nan
        return votes
    scores = output.astype(np.float32, copy=False)
    if prepared.output_format is OutputFormat.LOGITS_QUARTER:
        scores = enlarge(scores, size)
    whole: Scores = scores[0]
    return whole


def fill_up(pixels: Pixels, size: ImageSize, preparation: Preparation) -> Pixels:
    """Add the mean colour below and to the right, up to that size at least."""
    height, width = pixels.shape[:2]
    if height >= size.height and width >= size.width:
        return pixels
    filled = np.empty((max(height, size.height), max(width, size.width), 3), np.uint8)
    filled[:] = np.asarray(preparation.mean).round().clip(0, 255)
    filled[:height, :width] = pixels
    return filled


def inside(pixels: Pixels, size: ImageSize) -> ImageSize:
    """Return the largest size of a picture's aspect that fits, of one pixel at least."""
    height, width = pixels.shape[:2]
    scale = min(size.height / height, size.width / width)
    return ImageSize(max(1, round(height * scale)), max(1, round(width * scale)))


def views(pixels: Pixels, fit: FitOptions) -> list[tuple[Pixels, bool]]:
    """Return a picture, and mirrored too if requested, each with whether it is mirrored."""
    return [(pixels, False), *([(pixels[:, ::-1], True)] if fit.flip else [])]


def tile_of(
    pixels: Pixels, prepared: PreparedRunner, fit: FitOptions
) -> tuple[Pixels, ImageSize]:
    """Return the network's input for a picture, and the size of the picture inside it."""
    size = prepared.preparation.size
    if fit.fit is Fit.STRETCH:
        return np.ascontiguousarray(pixels), size
    part = inside(pixels, size)
    return fill_up(resize(pixels, part), size, prepared.preparation), part


def score_maps_of(
    prepared: PreparedRunner, images: Sequence[NamedImage], fit: FitOptions, classes: int
) -> Iterator[list[ScoreMap]]:
    """Yield the views of each picture, in order; pictures share batches unless they slide.

    Args:
        prepared: Runner of a network that segments.
        images: A few; their scores are in memory together, unless windows slide.
        fit: How each picture becomes the input.
        classes: Number of the network's classes.

    Raises:
        RunnerError: The runner failed.
        UsageError: The stride is longer than a window.
    """
    if fit.fit is Fit.SLIDE:
        stride = fit.stride_for(prepared.preparation.size)
        for image in images:
            yield [
                WindowScoreMap(prepared, view, classes, stride, mirrored=mirrored)
                for scale in fit.scales
                for view, mirrored in views(_scaled(image.pixels, scale), fit)
            ]
        return
    seen = [(image.name, view) for image in images for view in views(image.pixels, fit)]
    tiles = [tile_of(pixels, prepared, fit) for _, (pixels, _) in seen]
    named = [NamedImage(name, tile) for (name, _), (tile, _) in zip(seen, tiles, strict=True)]
    score_maps: list[ScoreMap] = []
    for output, (_, (_, mirrored)), (_, part) in zip(
        prepared.outputs(named), seen, tiles, strict=True
    ):
        scores = scores_of(output, prepared, classes)[:, : part.height, : part.width]
        score_maps.append(WholeScoreMap(scores[:, :, ::-1] if mirrored else scores))
        if len(score_maps) == len(seen) // len(images):
            yield score_maps
            score_maps = []


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    height, width = pixels.shape[:2]
    return resize(
        pixels, ImageSize(max(1, round(height * scale)), max(1, round(width * scale)))
    )
