"""Encoded images become RGB, or are refused by their name and with a hint."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.labelled import picture

from hrvit_deploy import images
from hrvit_deploy.errors import InputError
from hrvit_deploy.standalone.decode import (
    SUFFIXES,
    BrokenImage,
    ImageError,
    UnknownFormat,
    UnknownWhite,
    decode_image,
    load_image,
    to_rgb,
)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


COLOURS = Image.fromarray(picture(0, 40, 52))
WHOLE = encoded(COLOURS, "PNG")


def test_bytes_and_files_give_the_same_pixels(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        path = tmp_path / "image"
        path.write_bytes(encoded(COLOURS, kind))
        pixels = decode_image(path.read_bytes(), "it")
        np.testing.assert_array_equal(load_image(path), pixels)
        np.testing.assert_array_equal(load_image(str(path)), pixels)
        assert pixels.shape == (40, 52, 3)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_images_are_turned_upright(orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode_image(encoded(COLOURS, "PNG", exif=exif), "it")
    np.testing.assert_array_equal(pixels, np.rot90(np.asarray(COLOURS), turns))


def test_transparency_lies_over_white() -> None:
    alpha = picture(1, 40, 52)[..., 0]
    clear = COLOURS.copy()
    clear.putalpha(Image.fromarray(alpha))
    share = alpha[..., None] / 255
    expected = share * np.asarray(COLOURS) + (1 - share) * 255
    pixels = decode_image(encoded(clear, "PNG"), "it")
    assert np.abs(pixels - expected).max() <= 1


def test_sixteen_bits_are_rounded_to_eight() -> None:
    grey = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    pixels = decode_image(encoded(Image.fromarray(grey), "PNG"), "it")
    np.testing.assert_array_equal(pixels[..., 1], np.floor(grey / 257 + 0.5))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "CMYK", "YCbCr", "1"])
def test_open_pictures_are_decoded_as_files_are(mode: str) -> None:
    image = COLOURS.convert("L" if mode == "LA" else "RGB").convert(mode)
    pixels = to_rgb(image, "it")
    assert pixels.shape == (40, 52, 3)
    assert pixels.dtype == np.uint8
    if mode not in ("CMYK", "YCbCr"):
        np.testing.assert_array_equal(pixels, decode_image(encoded(image, "PNG"), "it"))


@pytest.mark.parametrize(
    ("content", "kind", "message", "hint"),
    [
        (
            b"no image",
            UnknownFormat,
            "it is not an image that can be read",
            "convert it to one",
        ),
        (b"", UnknownFormat, "it is not an image that can be read", "convert it to one"),
        (
            WHOLE[: len(WHOLE) // 2],
            BrokenImage,
            "it cannot be decoded: ",
            "restore the file, or remove it",
        ),
        (
            encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"),
            UnknownWhite,
            "it holds float32 samples whose white nobody knows",
            "convert it to 8 or 16 bits per channel",
        ),
    ],
)
def test_what_is_no_image_is_refused_with_a_hint(
    content: bytes, kind: type[ImageError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        decode_image(content, "it")
    error = caught.value
    assert error.message.startswith(message)
    assert str(error) == error.message
    assert hint in error.hint
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.hint) == (error.message, error.hint)


def test_the_hint_lists_the_formats() -> None:
    with pytest.raises(UnknownFormat) as caught:
        decode_image(b"", "it")
    assert caught.value.hint.endswith(".tif, .tiff or .webp")
    assert all(suffix in caught.value.hint for suffix in SUFFIXES)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ImageError, match=r"there is no image gone\.png") as caught:
        load_image("gone.png")
    assert caught.value.hint == "check the path"
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("content", [None, b"no image", WHOLE[: len(WHOLE) // 2]])
def test_the_package_raises_the_same_as_its_own_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError) as theirs:
        load_image(path)
    with pytest.raises(InputError) as ours:
        images.load_image(path)
    assert ours.value.message == theirs.value.message
    assert ours.value.hint == theirs.value.hint
