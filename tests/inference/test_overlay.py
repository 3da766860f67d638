"""Overlays show what is there, beside a legend that hides and cuts nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from hrvit_deploy.classes import class_set, known_classes
from hrvit_deploy.inference.overlay import (
    INK,
    PAPER,
    Entry,
    Legend,
    draw_overlay,
    entries_of,
    index_image,
    share_text,
    text_size,
)

NAMES = class_set(["wall", "sky", "tree"], [(255, 0, 0), (0, 0, 255), (0, 255, 0)])


def labels(height: int, width: int, classes: int = 3) -> np.ndarray:
    return (np.arange(height * width).reshape(height, width) % classes).astype(np.int32)


def test_the_legend_lists_what_is_there_the_largest_first() -> None:
    found = np.array([[2, 2, 2, 0, -1]], np.int32)
    entries = entries_of(found, NAMES)
    assert [(entry.name, entry.share) for entry in entries] == [
        ("tree", 0.6),
        ("wall", 0.2),
        ("undecided", 0.2),
    ]
    assert entries[0].colour == (0, 255, 0)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_picture_lies_under_its_classes_colours(alpha: float) -> None:
    pixels = np.full((60, 80, 3), 200, np.uint8)
    drawn = np.asarray(draw_overlay(pixels, labels(60, 80), NAMES, alpha)).astype(int)
    colours = np.array(NAMES.colours)[labels(60, 80)]
    expected = 200 + alpha * (colours - 200)
    assert np.abs(drawn[:60, :80] - expected).max() <= 1


def test_the_picture_shows_through_the_background() -> None:
    classes = class_set(["background", "sky", "tree"])
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    found = labels(60, 80)
    drawn = np.asarray(draw_overlay(pixels, found, classes, 0.5))[:60, :80]
    np.testing.assert_array_equal(drawn[found == 0], pixels[found == 0])
    assert np.any(drawn[found == 1] != pixels[found == 1])
    shown = [entry.colour for entry in entries_of(found, classes)]
    assert shown == [None, *classes.colours[1:]]


@pytest.mark.parametrize("size", [(8, 8), (64, 96), (400, 20), (90, 640), (1500, 1200)])
@pytest.mark.parametrize("count", [1, 150])
def test_the_legend_covers_nothing_and_is_not_cut(size: tuple[int, int], count: int) -> None:
    pixels = np.zeros((*size, 3), np.uint8)
    ade = known_classes("ade20k")
    drawn = np.asarray(draw_overlay(pixels, labels(*size, count), ade, 0.0)).astype(int)
    height, width = size
    assert (drawn[:height, :width] == 0).all()
    panel = drawn.copy()
    panel[:height, :width] = PAPER
    # Paper all around: no text runs over an edge.
    for edge in (panel[-2:], panel[:, -2:], panel[:2], panel[:, :2]):
        assert (edge == PAPER).all()
    assert (np.abs(panel - INK).sum(axis=2) < 60).any()


def test_every_line_has_room_for_its_text() -> None:
    entries = [Entry("a very long name of a class", (1, 2, 3), 0.5), Entry("b", (4, 5, 6), 0.5)]
    legend = Legend(entries, 20)
    font = ImageFont.load_default(20)
    assert (
        legend.draw(2).width > font.getlength(entries[0].name) + font.getlength("50.0 %") + 20
    )
    assert legend.draw(1).width > legend.draw(2).width
    assert legend.draw(1).height < legend.draw(2).height


def test_text_grows_with_the_picture_within_reason() -> None:
    assert text_size((64, 64)) == 13
    assert text_size((2048, 1024)) == 43
    assert text_size((20000, 100)) == 96


def test_shares_are_short() -> None:
    assert share_text(0.1234) == "12.3 %"
    assert share_text(0.00049) == "<0.1 %"
    assert share_text(1.0) == "100.0 %"


def test_the_map_is_indexed_and_shows_the_colours() -> None:
    found = labels(4, 6)
    found[0, 0] = -1
    image = index_image(found, NAMES)
    assert image.mode == "P"
    assert np.asarray(image)[0].tolist() == [255, 1, 2, 0, 1, 2]
    assert image.convert("RGB").getpixel((2, 0)) == (0, 255, 0)


def test_many_classes_take_sixteen_bits() -> None:
    found = np.array([[0, 299, -1]], np.int32)
    image = index_image(found, class_set(map(str, range(300))))
    assert np.asarray(image).tolist() == [[0, 299, 65535]]
    assert isinstance(image, Image.Image)
