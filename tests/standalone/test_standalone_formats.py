"""Only the formats that are meant are opened, whatever a file is called."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrvit_deploy.standalone.decode import UnknownFormat, decode_image, load_image
from hrvit_deploy.standalone.formats import READERS

POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 60\n%%EndComments\n"
    b"0 0 80 60 rectfill\nshowpage\n%%EOF\n"
)


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def test_postscript_is_handed_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("a program was run")

    monkeypatch.setattr(subprocess, "Popen", called)
    path = tmp_path / "x.png"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(UnknownFormat):
        load_image(path)


@pytest.mark.parametrize("kind", ["DDS", "SGI", "PCX", "TGA", "ICO", "PDF", "EPS", "MSP"])
def test_other_formats_are_refused(kind: str) -> None:
    Image.init()
    if kind == "MSP":
        file = io.BytesIO()
        Image.new("1", (8, 8)).save(file, kind)
        content = file.getvalue()
    else:
        content = encoded(kind)
    with pytest.raises(UnknownFormat):
        decode_image(content, "it")


@pytest.mark.parametrize("kind", sorted(READERS))
def test_each_format_that_is_meant_is_read(kind: str) -> None:
    assert decode_image(encoded(kind), "it").shape == (8, 8, 3)


def test_a_jpeg_of_several_pictures_is_the_first(tmp_path: Path) -> None:
    first = Image.new("RGB", (16, 16), (200, 0, 0))
    first.save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))]
    )
    assert load_image(tmp_path / "a.jpg")[8, 8, 0] > 190


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UnknownFormat, match="is not a file"):
        load_image(tmp_path / "a.png")
