"""Orientation is read whatever else EXIF holds, and pixels are turned as Pillow turns them."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from hrvit_deploy.standalone.decode import decode_image
from hrvit_deploy.standalone.orientation import orientation_in, turn

PICTURE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
)
TURNED = (0x112, 3, 1, b"\6\0\0\0")
Entry = tuple[int, int, int, bytes]


def exif(*entries: Entry, order: str = "<") -> bytes:
    """One directory of tags, types, counts and values, then room that values may lie in."""
    head = struct.pack(f"{order}2sHLH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    body = b"".join(struct.pack(f"{order}HHL", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0" + head + body + bytes(4) + struct.pack("<LL", 7, 2) * 8


def encoded(kind: str, data: bytes) -> bytes:
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    PICTURE.save(file, kind, exif=data, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(orientation: int) -> None:
    data = Image.Exif()
    data[0x112] = orientation
    content = encoded("PNG", data.tobytes())
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(decode_image(content, "it"), expected)
    np.testing.assert_array_equal(turn(np.asarray(PICTURE), orientation), expected)
    labels = np.asarray(PICTURE)[..., 0]
    np.testing.assert_array_equal(turn(labels, orientation), expected[..., 0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "odd",
    [
        (0x110, 5, 1, struct.pack("<L", 60)),  # a model as a fraction
        (0x103, 1, 1, b"\1\0\0\0"),  # a byte where a short is due
        (0x8769, 4, 1, b"\xff\xff\xff\xff"),  # a directory beyond the end
        (0x11A, 5, 1 << 31, b"\0\0\0\0"),
        (0x927C, 77, 3, b"abcd"),  # a type that there is not
    ],
)
def test_odd_tags_beside_it_do_not_matter(kind: str, odd: Entry) -> None:
    assert decode_image(encoded(kind, exif(odd, TURNED)), "it").shape == (30, 20, 3)


@pytest.mark.filterwarnings("error")
def test_no_directory_of_tags_keeps_an_image_from_being_read() -> None:
    generator = random.Random(3)
    for _ in range(300):
        order = generator.choice("<>")
        entries = [
            (
                generator.choice((0x103, 0x110, 0x11A, 0x8769, generator.randrange(1 << 16))),
                generator.randrange(16),
                generator.choice((0, 1, 2, 60, 1 << 31)),
                generator.randbytes(4),
            )
            for _ in range(generator.randrange(6))
        ]
        entries.append((0x112, 3, 1, struct.pack(f"{order}HH", 6, 0)))
        generator.shuffle(entries)
        assert decode_image(encoded("JPEG", exif(*entries, order=order)), "it").shape[0] == 30


@pytest.mark.parametrize(
    ("data", "orientation"),
    [
        (exif(TURNED), 6),
        (exif(TURNED)[6:], 6),
        (exif((0x112, 3, 1, b"\0\6\0\0"), order=">"), 6),
        (exif((0x112, 4, 1, b"\0\0\0\6"), order=">"), 6),
        (exif((0x112, 1, 1, b"\6\0\0\0"), order=">"), 6),
        (exif((0x112, 3, 2, b"\6\0\6\0")), 6),
        (exif((0x112, 3, 1, b"\0\0\0\0")), 1),
        (exif((0x112, 3, 1, b"\x09\0\0\0")), 1),
        (exif((0x112, 5, 1, b"\6\0\0\0")), 1),  # a fraction lies elsewhere
        (exif((0x112, 3, 9, b"\6\0\0\0")), 1),
        (exif(), 1),
        (exif(TURNED)[:20], 1),
        (b"II", 1),
        (b"", 1),
        (None, 1),
        ({0x112: 6}, 1),
    ],
)
def test_what_is_malformed_is_upright(data: Any, orientation: int) -> None:
    assert orientation_in(data) == orientation


def test_xmp_does_not_turn_an_image() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    for kind in ("JPEG", "WEBP", "TIFF"):
        file = io.BytesIO()
        options = {"tiffinfo": {700: xmp}} if kind == "TIFF" else {"xmp": xmp}
        PICTURE.save(file, kind, **options)
        assert decode_image(file.getvalue(), "it").shape == (20, 30, 3), kind


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(compression: str | None, orientation: int) -> None:
    file = io.BytesIO()
    PICTURE.save(file, "TIFF", compression=compression, tiffinfo={0x112: orientation})
    expected = turn(np.asarray(PICTURE), orientation)
    np.testing.assert_array_equal(decode_image(file.getvalue(), "it"), expected)


def test_a_tiff_may_hold_odd_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    PICTURE.save(file, "TIFF", tiffinfo={0x112: 6, 0x110: "a model"})
    content = bytearray(file.getvalue())
    entry = content.index(struct.pack("<HH", 0x110, 2))
    content[entry + 2] = 5  # as a fraction
    assert decode_image(bytes(content), "it").shape == (30, 20, 3)
