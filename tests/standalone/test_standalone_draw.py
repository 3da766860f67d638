"""Label maps become pictures whose values are indices, and overlays."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support.labelled import picture

from hrvit_deploy.standalone.draw import blend, encode_png, index_image, palette

COLOURS = [(255, 0, 0), (0, 0, 255), (0, 255, 0)]
LABELS = np.array([[0, 1, 2], [2, -1, 0]], np.int32)


def test_values_are_indices_and_colours_those_of_the_classes() -> None:
    image = index_image(LABELS, COLOURS)
    assert image.mode == "P"
    assert np.asarray(image).tolist() == [[0, 1, 2], [2, 255, 0]]
    assert np.asarray(image.convert("RGB"))[0].tolist() == [list(c) for c in COLOURS]


@pytest.mark.parametrize(("classes", "mode", "none"), [(255, "P", 255), (256, "I;16", 65535)])
def test_a_palette_has_one_index_left(classes: int, mode: str, none: int) -> None:
    colours = [(i % 256, 0, 0) for i in range(classes)]
    image = index_image(np.array([[classes - 1, -1]], np.int32), colours)
    assert image.mode == mode
    assert np.asarray(image).tolist() == [[classes - 1, none]]


def test_more_classes_than_a_palette_holds_are_grey() -> None:
    image = index_image(np.array([[299, -1]], np.int32), [(0, 0, 0)] * 300)
    assert np.asarray(image).tolist() == [[299, 65535]]


@pytest.mark.parametrize("classes", [3, 300])
def test_a_png_keeps_every_value(classes: int) -> None:
    image = index_image(LABELS, (COLOURS * 100)[:classes])
    content = encode_png(image)
    again = Image.open(io.BytesIO(content))
    assert again.format == "PNG"
    np.testing.assert_array_equal(np.asarray(again), np.asarray(image))
    if classes == 3:
        assert again.convert("RGB").getpixel((1, 0)) == COLOURS[1]


def test_the_last_colour_is_for_no_class() -> None:
    assert palette(COLOURS)[-1].tolist() == [0, 0, 0]
    assert palette(COLOURS)[:3].tolist() == [list(colour) for colour in COLOURS]


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_colours_are_laid_over_the_image_but_for_clear_classes(alpha: float) -> None:
    pixels = picture(0, 2, 3)
    overlay = np.asarray(blend(pixels, LABELS, COLOURS, [1], alpha)).astype(float)
    colours = palette(COLOURS)[LABELS].astype(float)
    colours[LABELS == 1] = pixels[LABELS == 1]
    assert np.abs(overlay - (pixels + alpha * (colours - pixels))).max() <= 1
    np.testing.assert_array_equal(overlay[LABELS == 1], pixels[LABELS == 1])
