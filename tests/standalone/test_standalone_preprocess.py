"""RGB becomes the input that a sidecar describes, number for number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.labelled import picture

from hrvit_deploy.standalone.preprocess import prepare, resize

PIXELS = picture(0, 40, 52)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def prepared(dtype: Any = np.float32, input_format: str = "float32-nchw") -> Any:
    return prepare(PIXELS, (24, 32), input_format, mean=MEAN, std=STD, dtype=dtype)


def test_an_image_of_the_right_size_is_left_alone() -> None:
    assert resize(PIXELS, (40, 52)) is PIXELS


@pytest.mark.parametrize("size", [(24, 32), (80, 10), (41, 52)])
def test_images_are_resized_as_pillow_does(size: tuple[int, int]) -> None:
    image = Image.fromarray(PIXELS).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize(PIXELS, size), np.asarray(image))


def test_shrinking_averages_what_it_drops() -> None:
    stripes = np.zeros((320, 320, 3), np.uint8)
    stripes[::2] = 255
    assert np.abs(resize(stripes, (32, 32)).astype(int) - 127).max() < 20


def test_channels_are_normalised_in_float32_and_put_first() -> None:
    batch = prepared()
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    pixels = resize(PIXELS, (24, 32))
    for channel in range(3):
        plane = pixels[..., channel].astype(np.float32) - np.float32(MEAN[channel])
        expected = plane / np.float32(STD[channel])
        np.testing.assert_array_equal(batch[0, channel], expected)


def test_a_narrow_input_is_rounded_once() -> None:
    narrow = prepared(np.float16)
    assert narrow.dtype == np.float16
    assert narrow.flags.c_contiguous
    np.testing.assert_array_equal(narrow, prepared().astype(np.float16))
    np.testing.assert_array_equal(prepared("float16"), narrow)


def test_networks_that_normalise_get_the_pixels() -> None:
    batch = prepared("uint8", "uint8-nhwc")
    assert batch.dtype == np.uint8
    np.testing.assert_array_equal(batch[0], resize(PIXELS, (24, 32)))
