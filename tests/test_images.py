"""Images of every kind become RGB, and RGB becomes what a sidecar asks for."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrvit_deploy import image_files, images
from hrvit_deploy.artefact import Preparation
from hrvit_deploy.errors import InputError, MissingDependency
from hrvit_deploy.options import ImageSize, InputFormat

RED = (200, 30, 40)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_a_plain_file_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    loaded = images.load_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    np.testing.assert_array_equal(loaded, pixels)
    assert loaded.flags.writeable


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 4))
    picture.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    loaded = images.load_image(save(tmp_path / "a.png", picture, exif=exif))
    assert loaded.shape == (6, 4, 3)
    assert tuple(loaded[0, 3]) == RED


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGBA", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    white = Image.new("RGB", (3, 2), "white").convert("L" if mode == "LA" else "RGB")
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    loaded = images.load_image(save(tmp_path / f"a{suffix}", white.convert(mode)))
    assert loaded.shape == (2, 3, 3)
    assert loaded.min() >= 254


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4), RED).convert("P", palette=Image.Palette.ADAPTIVE)
    loaded = images.load_image(save(tmp_path / "a.png", picture))
    assert tuple(loaded[2, 2]) == RED


def test_cmyk_photographs_keep_their_colour(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 16), RED).convert("CMYK")
    loaded = images.load_image(save(tmp_path / "a.jpg", picture, quality=95))
    assert np.abs(loaded[8, 8].astype(int) - RED).max() < 12


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    grey = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    path = tmp_path / f"a{suffix}"
    if suffix == ".pgm":
        path.write_bytes(b"P5 4 1 65535\n" + grey.astype(">u2").tobytes())
    else:
        Image.fromarray(grey).save(path)
    loaded = images.load_image(path)
    np.testing.assert_array_equal(loaded[0, :, 1], [0, 1, 128, 255])


def test_floating_samples_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(InputError, match="white nobody knows") as caught:
        images.load_image(path)
    assert "16 bits" in caught.value.hint


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (2, 1), (*RED, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    loaded = images.load_image(save(tmp_path / "a.png", picture))
    np.testing.assert_array_equal(loaded[0], [RED, (255, 255, 255)])


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 2), 0)
    picture.putpalette([0, 0, 0, *RED])
    loaded = images.load_image(save(tmp_path / "a.png", picture, transparency=0))
    assert loaded.min() == 255


def test_no_file_is_named() -> None:
    with pytest.raises(InputError, match=r"there is no image nowhere\.jpg"):
        images.load_image(Path("nowhere.jpg"))


def test_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("an apology")
    with pytest.raises(InputError, match=r"a\.jpg is not an image") as caught:
        images.load_image(path)
    assert ".png" in caught.value.hint


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=tmp_path.name):
        images.load_image(tmp_path)


@pytest.mark.filterwarnings("ignore")  # Pillow comments on what it reads
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "bmp", "webp", "gif"])
def test_broken_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    """Cut anywhere or with bytes changed, a file loads or raises InputError."""
    generator = np.random.default_rng(7)
    noise = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    whole = np.frombuffer(buffer.getvalue(), np.uint8)
    path = tmp_path / f"a.{kind}"
    refused = []
    for _ in range(150):
        broken = whole[: generator.integers(len(whole))].copy()
        hits = generator.integers(0, max(len(broken), 1), 3)
        broken[hits[hits < len(broken)]] ^= 0x55
        path.write_bytes(broken.tobytes())
        try:
            assert images.load_image(path).shape[2] == 3
        except InputError as error:
            refused.append(error)
    assert len(refused) > 75
    assert all(str(path) in error.message and error.hint for error in refused)


@pytest.mark.filterwarnings("error")
def test_a_large_image_is_refused_with_the_limit_that_lets_it_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", Image.new("L", (64, 32)))
    # The process's own limit is another matter.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setenv("HRVIT_DEPLOY_MAX_PIXELS", "2047")
    with pytest.raises(InputError, match=r"a\.png has 0\.002048 million .*64 x 32") as caught:
        images.load_image(path)
    assert "--max-pixels or HRVIT_DEPLOY_MAX_PIXELS=2048" in caught.value.hint
    for limit in ("2048", "0", ""):
        monkeypatch.setenv("HRVIT_DEPLOY_MAX_PIXELS", limit)
        assert images.load_image(path).shape == (32, 64, 3)
    monkeypatch.setenv("HRVIT_DEPLOY_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="HRVIT_DEPLOY_MAX_PIXELS is 'many'"):
        images.load_image(path)


def test_folders_are_listed_whole_and_sorted(tmp_path: Path) -> None:
    (tmp_path / "sub.png").mkdir()
    for name in ("b.JPG", "a.png", "sub.png/c.webp", "notes.txt", "._a.png"):
        (tmp_path / name).touch()
    listed = [
        path.relative_to(tmp_path).as_posix() for path in image_files.list_images(tmp_path)
    ]
    assert listed == ["a.png", "b.JPG", "sub.png/c.webp"]


@pytest.mark.parametrize(("name", "says"), [("gone", "no folder"), (".", "no image in")])
def test_an_empty_or_missing_folder_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        image_files.list_images(tmp_path / name)


def test_folder_images_are_whole_and_named_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    save(tmp_path / "cats" / "tom.png", Image.new("RGB", (9, 5), RED))
    [found] = images.folder_images(tmp_path)
    assert found.name == "cats/tom.png"
    assert found.pixels.shape == (5, 9, 3)


def test_the_photographs_come_without_importing_their_package() -> None:
    before = "sklearn" in sys.modules
    found = images.photographs()
    assert ("sklearn" in sys.modules) == before
    assert [(name, pixels.shape) for name, pixels in found] == [
        ("china", (427, 640, 3)),
        ("flower", (427, 640, 3)),
    ]


def test_without_the_photographs_the_error_says_what_to_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as caught:
        images.photographs()
    assert "--images DIR" in caught.value.hint


@pytest.mark.parametrize("size", [ImageSize(224, 224), ImageSize(512, 1024)])
def test_samples_differ_repeat_and_have_the_aspect(size: ImageSize) -> None:
    few, many = list(images.samples(3, size)), list(images.samples(40, size))
    for first, second in zip(few, many, strict=False):
        assert first.name == second.name
        np.testing.assert_array_equal(first.pixels, second.pixels)
    assert len({pixels.tobytes() for _, pixels in many}) == len({n for n, _ in many}) == 40
    for _, pixels in many:
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(
            size.width / size.height, rel=0.02
        )
    assert max(p.shape[0] for _, p in many) > 1.8 * min(p.shape[0] for _, p in many)


def test_another_seed_gives_other_samples() -> None:
    [one], [other] = (list(images.samples(1, ImageSize(64, 64), seed=s)) for s in (0, 1))
    assert one.pixels.tobytes() != other.pixels.tobytes()


def test_prepare_normalises_and_lays_out() -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[3, 5] = (10, 20, 40)
    prepared = images.prepare(
        pixels, Preparation(ImageSize(32, 64), mean=(10.0, 10.0, 0.0), std=(1.0, 2.0, 4.0))
    )
    assert prepared.shape == (1, 3, 32, 64)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    np.testing.assert_array_equal(prepared[0, :, 3, 5], [0, 5, 10])
    np.testing.assert_array_equal(prepared[0, :, 0, 0], [-10, -5, 0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_prepare_rounds_to_a_narrow_input(dtype: str) -> None:
    pixels = np.full((32, 32, 3), 200, np.uint8)
    wide = images.prepare(pixels, Preparation(ImageSize(32, 32)))
    narrow = images.prepare(pixels, Preparation(ImageSize(32, 32)), dtype)
    assert narrow.dtype.name == dtype
    assert narrow.flags.c_contiguous
    np.testing.assert_allclose(narrow.astype(np.float32), wide, rtol=2**-8)


def test_prepare_keeps_bytes_for_graphs_that_take_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    prepared = images.prepare(pixels, Preparation(ImageSize(32, 32), InputFormat.UINT8_NHWC))
    assert prepared.dtype == np.uint8
    np.testing.assert_array_equal(prepared[0], pixels)


def test_shrinking_averages_what_it_drops() -> None:
    """Bilinear without antialiasing would keep single rows of the stripes."""
    stripes = np.zeros((320, 320, 3), np.uint8)
    stripes[::2] = 255
    prepared = images.prepare(stripes, Preparation(ImageSize(32, 32), InputFormat.UINT8_NHWC))
    assert np.abs(prepared.astype(int) - 127).max() < 20


def test_a_preparation_nobody_can_do_is_refused() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    four = Preparation(ImageSize(32, 32), mean=(0.0,) * 4, std=(1.0,) * 4)
    with pytest.raises(InputError, match="4 channels of RGB"):
        images.prepare(pixels, four)
    with pytest.raises(InputError, match="of BGR"):
        images.prepare(pixels, Preparation(ImageSize(32, 32), color="BGR"))


def test_stack_makes_one_batch() -> None:
    batch = images.stack([np.full((1, 3, 2, 2), value, np.float32) for value in (1, 2)])
    assert batch.shape == (2, 3, 2, 2)
    assert batch[1].min() == 2
