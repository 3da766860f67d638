"""Score maps of images of any size, read from top to bottom, a strip at a time.

A score map is one view of a picture: stretched, padded or seen through windows, mirrored or
not, at one scale. Only the rows in use are held, so that a picture may be large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.images import NamedImage, Pixels
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.labels import enlarge
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.options import ImageSize, OutputFormat

Scores = NDArray[np.float32]


class ScoreMap(Protocol):
    """Scores of one view of a picture.

    Attributes:
        size: Height and width of the view, in pixels.
        classes: How many scores a pixel has.
    """

    size: ImageSize
    classes: int

    def rows(self, start: int, stop: int) -> Scores:
        """``C x (stop - start) x W``; rows above ``start`` are not asked for again."""


class WholeScoreMap:
    """Scores that are all there."""

    def __init__(self, scores: Scores, *, mirrored: bool = False) -> None:
        """Take ``C x H x W`` scores; those of a mirrored view are mirrored back."""
        self.size, self.classes = ImageSize(*scores.shape[1:]), len(scores)
        self._scores = scores[:, :, ::-1] if mirrored else scores

    def rows(self, start: int, stop: int) -> Scores:
        return self._scores[:, start:stop]


class WindowScoreMap:
    """The mean of the scores of overlapping windows, a row of windows at a time."""

    def __init__(
        self,
        prepared: PreparedRunner,
        pixels: Pixels,
        classes: int,
        stride: ImageSize,
        *,
        mirrored: bool = False,
    ) -> None:
        """Look at ``H x W x 3`` pixels, smaller ones filled up to one window."""
        self.size, self.classes = ImageSize(*pixels.shape[:2]), classes
        self._prepared, self._mirrored = prepared, mirrored
        self._window = prepared.preparation.size
        self._pixels = fill_up(pixels, self._window, prepared.preparation)
        extents = self._pixels.shape[:2]
        steps = zip(extents, self._window, stride, strict=True)
        self._tops, self._lefts = (window_starts(*step) for step in steps)
        self._next = 0  # of the rows of windows
        self._first = 0  # row of the picture that the held sums begin with
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
        held = self._sums[:, start - self._first : stop - self._first]
        rows, columns = self._over[0][start:stop, None], self._over[1]
        mean: Scores = (held / (rows * columns))[:, :, : self.size.width]
        return mean[:, :, ::-1] if self._mirrored else mean

    def _add_windows(self, start: int) -> None:
        """Run the next row of windows; sums of rows above ``start`` are let go."""
        top = self._tops[self._next]
        height, width = self._window
        self._next += 1
        if top + height <= start:
            return  # nobody looks at them
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
    """Where windows begin along one prepared, the last one moved back to end with it."""
    last = max(extent - window, 0)
    return [min(start, last) for start in range(0, last + stride, stride)]


def coverage(starts: Sequence[int], window: int, extent: int) -> NDArray[np.int64]:
    """How many windows lie over each of ``extent`` pixels of one prepared."""
    edges = np.zeros(max(extent, starts[-1] + window) + 1, np.int64)
    np.add.at(edges, np.asarray(starts), 1)
    np.add.at(edges, np.asarray(starts) + window, -1)
    return edges.cumsum()[:extent]


def scores_of(output: NDArray[Any], prepared: PreparedRunner, classes: int) -> Scores:
    """One output as ``C x H x W`` scores of the input's size.

    A class map gives one vote a pixel; one for a class there is not gives NaN.
    """
    size = prepared.preparation.size
    if prepared.output_format is OutputFormat.CLASSMAP:
        found = output[0].astype(np.int64)
        votes: Scores = (np.arange(classes)[:, None, None] == found).astype(np.float32)
        votes[:, (found < 0) | (found >= classes)] = np.nan
        return votes
    scores = output.astype(np.float32, copy=False)
    if prepared.output_format is OutputFormat.LOGITS_QUARTER:
        scores = enlarge(scores, size)
    whole: Scores = scores[0]
    return whole


def resized(pixels: Pixels, size: ImageSize) -> Pixels:
    """Bilinear with antialiasing, as sidecars ask for."""
    if pixels.shape[:2] == tuple(size):
        return pixels
    shape = (size.width, size.height)
    return np.array(Image.fromarray(pixels).resize(shape, Image.Resampling.BILINEAR))


def fill_up(pixels: Pixels, size: ImageSize, preparation: Preparation) -> Pixels:
    """Pixels with the mean colour below and to the right, up to that size at least."""
    height, width = pixels.shape[:2]
    if height >= size.height and width >= size.width:
        return pixels
    filled = np.empty((max(height, size.height), max(width, size.width), 3), np.uint8)
    filled[:] = np.asarray(preparation.mean).round().clip(0, 255)
    filled[:height, :width] = pixels
    return filled


def inside(pixels: Pixels, size: ImageSize) -> ImageSize:
    """The largest size of the picture's aspect within that one; no prepared below a pixel."""
    height, width = pixels.shape[:2]
    scale = min(size.height / height, size.width / width)
    return ImageSize(max(1, round(height * scale)), max(1, round(width * scale)))


def views(pixels: Pixels, fit: FitOptions) -> list[tuple[Pixels, bool]]:
    """A picture as it is and mirrored, if that is asked for; and whether it is mirrored."""
    return [(pixels, False), *([(pixels[:, ::-1], True)] if fit.flip else [])]


def tile_of(
    pixels: Pixels, prepared: PreparedRunner, fit: FitOptions
) -> tuple[Pixels, ImageSize]:
    """The network's input for a whole picture, and the part of it that shows the picture."""
    size = prepared.preparation.size
    if fit.fit is Fit.STRETCH:
        return np.ascontiguousarray(pixels), size
    part = inside(pixels, size)
    return fill_up(resized(pixels, part), size, prepared.preparation), part


def score_maps_of(
    prepared: PreparedRunner, images: Sequence[NamedImage], fit: FitOptions, classes: int
) -> Iterator[list[ScoreMap]]:
    """The views of each picture, in order; pictures share batches where each is one run.

    Args:
        prepared: What outputs; its network segments.
        images: A few; their scores are held together unless windows are asked for.
        fit: How each becomes the input.
        classes: How many the network tells apart.

    Raises:
        RunnerError: The runner failed.
        UsageError: The stride is longer than a window.
    """
    if fit.fit is Fit.SLIDE:
        stride = fit.stride_for(prepared.preparation.size)
        for image in images:
            yield [
                WindowScoreMap(prepared, seen, classes, stride, mirrored=mirrored)
                for scale in fit.scales
                for seen, mirrored in views(_scaled(image.pixels, scale), fit)
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
        score_maps.append(WholeScoreMap(scores, mirrored=mirrored))
        if len(score_maps) == len(seen) // len(images):
            yield score_maps
            score_maps = []


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    height, width = pixels.shape[:2]
    return resized(
        pixels, ImageSize(max(1, round(height * scale)), max(1, round(width * scale)))
    )
