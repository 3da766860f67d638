"""A picture with its classes laid over it, and a legend beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hrvit_deploy.classes import ClassSet, Colour
from hrvit_deploy.images import Pixels
from hrvit_deploy.inference.fonts import Font, font_for
from hrvit_deploy.inference.labels import Labels
from hrvit_deploy.standalone import draw

# Name, colour and index of pixels whose scores were not finite.
UNDECIDED_NAME = "undecided"
UNDECIDED_COLOUR = draw.UNDECIDED_COLOUR
UNDECIDED_INDEX = draw.PALETTE_CLASSES

# Height of the text as a share of the picture's longer side, within what can be read.
TEXT_SHARE = 1 / 48
TEXT_PIXELS = (13, 96)
# Multiples of the text's size.
LINE, MARGIN, SWATCH, GAP = 1.6, 0.9, 1.0, 0.5
# Lines of a legend beside a low picture before it gets another column.
LEAST_LINES = 8
# Width of a picture over its height; the legend of a wider one lies below it.
WIDE = 1.75
PAPER, INK, FAINT, EDGE = (255, 255, 255), (32, 32, 32), (104, 104, 104), (176, 176, 176)


@dataclass(frozen=True)
class Entry:
    """A line of the legend: one class that occurs.

    Attributes:
        colour: None if the picture shows through.
        share: Share of the picture's pixels, above 0 to 1.
        index: Of the class, shown where no font has the name's characters.
    """

    name: str
    colour: Colour | None
    share: float
    index: int = UNDECIDED_INDEX


def entries_of(labels: Labels, classes: ClassSet) -> list[Entry]:
    """List the classes in a map, the largest first; pixels without one come last.

    Args:
        labels: ``H x W`` indices, -1 where there is no class.
        classes: Their names and colours.
    """
    counts = np.bincount(labels.ravel() + 1, minlength=len(classes) + 1)
    entries = [
        Entry(
            classes.names[index],
            None if index in classes.clear else classes.colours[index],
            count / labels.size,
            index,
        )
        for index, count in enumerate(counts[1:].tolist())
        if count
    ]
    entries.sort(key=lambda entry: -entry.share)
    if counts[0]:
        entries.append(Entry(UNDECIDED_NAME, UNDECIDED_COLOUR, float(counts[0]) / labels.size))
    return entries


def palette_of(classes: ClassSet) -> NDArray[np.uint8]:
    """Return colours by index, ``C + 1 x 3``; the last one, at -1, is for no class."""
    return draw.palette(classes.colours)


def draw_overlay(
    pixels: Pixels, labels: Labels, classes: ClassSet, alpha: float
) -> Image.Image:
    """Draw a picture under its classes' colours, with a legend beside it, or below if wide.

    Args:
        pixels: ``H x W x 3`` RGB.
        labels: ``H x W`` indices, -1 where there is no class.
        classes: Names and colours.
        alpha: Share of the colours, from 0 to 1.
    """
    blended = draw.blend(pixels, labels, classes.colours, classes.clear, alpha)
    width, height = blended.size
    legend = Legend(entries_of(labels, classes), text_size(blended.size))
    if width > WIDE * height:
        panel, corner = legend.draw(legend.lines_across(width)), (0, height)
    else:
        panel, corner = legend.draw(legend.lines_down(height)), (width, 0)
    size = (max(width, corner[0] + panel.width), max(height, corner[1] + panel.height))
    page = Image.new("RGB", size, PAPER)
    page.paste(blended, (0, 0))
    page.paste(panel, corner)
    return page


def text_size(size: tuple[int, int]) -> int:
    """Return the height of the legend's text for a picture of that size, in pixels."""
    low, high = TEXT_PIXELS
    return round(min(max(max(size) * TEXT_SHARE, low), high))


class Legend:
    """Lines of a swatch, a name and a share, in columns."""

    def __init__(self, entries: Sequence[Entry], text: int) -> None:
        """Measure the lines, in text of that many pixels height."""
        self._entries, self._text = entries, text
        self._font = ImageFont.load_default(text)
        self._line, self._margin = round(text * LINE), round(text * MARGIN)
        fonts = [font_for(entry.name, text) for entry in entries]
        self._labels = [
            (entry.name, font) if font else (f"class {entry.index}", self._font)
            for entry, font in zip(entries, fonts, strict=True)
        ]
        self._names = [font.getlength(name) for name, font in self._labels]
        self._shares = [self._font.getlength(share_text(entry.share)) for entry in entries]

    def lines_down(self, height: int) -> int:
        """Return the lines of a column beside a picture of that height, in pixels.

        Beside a low picture, columns are longer than it rather than many.
        """
        fitting = (height - 2 * self._margin) // self._line
        return max(fitting, LEAST_LINES, math.isqrt(2 * len(self._entries)))

    def lines_across(self, width: int) -> int:
        """Return the lines of a column below a picture of that width, in pixels."""
        count = len(self._entries)
        fitting = (lines for lines in range(1, count) if sum(self._columns(lines)) <= width)
        return next(fitting, count)

    def _columns(self, lines: int) -> list[int]:
        """Return the margin before the first column, and each column's width and margin."""
        widths = [self._margin]
        for start in range(0, len(self._entries), lines):
            part = slice(start, start + lines)
            text = max(self._names[part]) + max(self._shares[part])
            widths.append(math.ceil(self._text * (SWATCH + 2 * GAP) + text) + self._margin)
        return widths

    def draw(self, lines: int) -> Image.Image:
        """Draw the panel, with columns of so many lines."""
        widths = self._columns(lines)
        height = 2 * self._margin + self._line * min(lines, len(self._entries))
        panel = Image.new("RGB", (sum(widths), height), PAPER)
        pen = ImageDraw.Draw(panel)
        for index, entry in enumerate(self._entries):
            column, row = divmod(index, lines)
            left = sum(widths[: column + 1])
            right = left + widths[column + 1] - self._margin
            top = self._margin + row * self._line
            self._draw_entry(pen, entry, self._labels[index], (left, right), top)
        return panel

    def _draw_entry(
        self,
        pen: ImageDraw.ImageDraw,
        entry: Entry,
        label: tuple[str, Font],
        sides: tuple[int, int],
        top: int,
    ) -> None:
        """Draw a swatch and the name on the left, the share on the right."""
        left, right = sides
        swatch = round(self._text * SWATCH)
        middle = top + self._line // 2
        upper = middle - swatch // 2
        pen.rectangle(
            (left, upper, left + swatch, upper + swatch), fill=entry.colour, outline=EDGE
        )
        beside = left + swatch + round(self._text * GAP)
        name, font = label
        pen.text((beside, middle), name, fill=INK, font=font, anchor="lm")
        share = share_text(entry.share)
        pen.text((right, middle), share, fill=FAINT, font=self._font, anchor="rm")


def share_text(share: float) -> str:
    """Write a share as ``12.3 %``; what would round to nothing is ``<0.1 %``."""
    return "<0.1 %" if share < 0.0005 else f"{share:.1%}".replace("%", " %")


def index_image(labels: Labels, classes: ClassSet) -> Image.Image:
    """Return a picture whose values are class indices, shown in the classes' colours.

    Up to 255 classes it has a palette, and 255 stands where there is no class; more are
    written as 16-bit grey, and 65535 stands there.
    """
    return draw.index_image(labels, classes.colours)
