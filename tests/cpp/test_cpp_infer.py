"""hrvit_infer reads images as Python does, draws what the network says, and tells latencies."""

from __future__ import annotations

import io
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import cpp_models
from support.cpp_probe import Infer, Probe

from hrvit_deploy.artefact import record
from hrvit_deploy.classes import class_set
from hrvit_deploy.images import Pixels, load_image, photographs
from hrvit_deploy.inference.overlay import draw_overlay, entries_of, index_image, share_text
from hrvit_deploy.options import OutputFormat

pytest_plugins = ["support.cpp_fixtures"]

CHINA = photographs()[0].pixels[:90, :120]
GREY = Image.fromarray(CHINA).convert("L")
# libjpeg-turbo 2 and 3 round some colours otherwise.
JPEG_ROUNDING = 2


def wide() -> Image.Image:
    return Image.fromarray(np.asarray(GREY).astype(np.uint16) * 251 + 77)


def clear(mode: str) -> Image.Image:
    """Transparent to the left, and less so to the right."""
    image = Image.fromarray(CHINA).convert(mode)
    steps = np.linspace(0, 255, CHINA.shape[1]).astype(np.uint8)
    image.putalpha(Image.fromarray(np.tile(steps, (CHINA.shape[0], 1))))
    return image


def palette() -> Image.Image:
    image = Image.fromarray(CHINA).quantize(60)
    image.info["transparency"] = 3
    return image


PNGS: dict[str, Any] = {
    "colours": lambda: Image.fromarray(CHINA),
    "grey": lambda: GREY,
    "two": lambda: GREY.convert("1"),
    "palette": lambda: Image.fromarray(CHINA).quantize(16),
    "clear palette": palette,
    "clear": lambda: clear("RGB"),
    "clear grey": lambda: clear("L"),
    "wide grey": wide,
}


@pytest.mark.parametrize("kind", PNGS)
def test_png_is_read_as_pillow_reads_it(probe: Probe, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.png"
    PNGS[kind]().save(path)
    pixels = probe.array("read", path, dtype=np.uint8)
    np.testing.assert_array_equal(pixels.reshape(CHINA.shape), load_image(path))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_read_as_pillow_reads_it(
    probe: Probe, tmp_path: Path, mode: str, progressive: bool
) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(CHINA).convert(mode).save(path, progressive=progressive, quality=85)
    pixels = probe.array("read", path, dtype=np.uint8).reshape(CHINA.shape)
    assert np.abs(pixels.astype(int) - load_image(path)).max() <= JPEG_ROUNDING


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_exif_turns_images(probe: Probe, tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"image.{suffix}"
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "somebody", orientation
    GREY.save(path, exif=exif)
    theirs = load_image(path)
    pixels = probe.array("read", path, dtype=np.uint8).reshape(theirs.shape)
    assert np.abs(pixels.astype(int) - theirs).max() <= JPEG_ROUNDING


def test_broken_exif_turns_nothing_and_harms_nothing(probe: Probe, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    GREY.save(stream, "jpeg", exif=exif)
    whole = stream.getvalue()
    start = whole.index(b"Exif\0\0") + 6
    path = tmp_path / "image.jpg"
    for place in range(start, start + 26):
        for value in (0x00, 0x7F, 0xFF):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            height, width = probe.text("read", tmp_path / "out", path).split()
            assert sorted((int(height), int(width))) == sorted(CHINA.shape[:2])


BROKEN: dict[str, tuple[Any, str]] = {
    "gone": (None, "there is no image {path}; check the path"),
    "text": (b"no image at all", "{path} is neither JPEG nor PNG; convert it to one of them"),
    "empty": (b"", "{path} is neither JPEG nor PNG"),
    "short.jpg": ("jpeg", "{path} cannot be decoded: Premature end of JPEG file"),
    "short.png": ("png", "{path} cannot be decoded: the file is truncated; restore the file"),
    "ink.jpg": ("ink", "{path} cannot be decoded: its colours are CMYK"),
    "header.jpg": (b"\xff\xd8\xff", "{path} cannot be decoded: "),
    "header.png": (b"\x89PNG\r\n\x1a\n", "{path} cannot be decoded: the file is truncated"),
}


def bytes_of(kind: Any) -> bytes:
    if isinstance(kind, bytes):
        return kind
    stream = io.BytesIO()
    if kind == "ink":
        Image.fromarray(CHINA).convert("CMYK").save(stream, "jpeg")
        return stream.getvalue()
    Image.fromarray(CHINA).save(stream, kind)
    return stream.getvalue()[: len(stream.getvalue()) // 2]


@pytest.mark.parametrize("name", BROKEN)
def test_image_that_is_none_is_one_clear_line(infer: Infer, tmp_path: Path, name: str) -> None:
    kind, message = BROKEN[name]
    path = tmp_path / name
    if kind is not None:
        path.write_bytes(bytes_of(kind))
    made = cpp_models.segmenter(tmp_path)
    good = tmp_path / "good.png"
    Image.fromarray(CHINA).save(good)
    ran = infer(made.path, path, good, "--out", tmp_path / "out", "--repeat", 1)
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert line.startswith("error: " + message.format(path=path))
    # The others are answered all the same.
    made_of_it = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert made_of_it == ["good-labels.png", "good-overlay.png"]


def write(pixels: Pixels, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_overlays_and_shares_are_pythons(infer: Infer, probe: Probe, tmp_path: Path) -> None:
    made = cpp_models.segmenter(tmp_path, undecided=True)
    names = ("Background", "sky", "tree", "roof", "wall", "sky", "lake")
    made = record(made, network=record_names(made, names))
    picture = write(CHINA, tmp_path / "china.png")
    ran = infer(made.path, picture, "--out", tmp_path / "out", "--repeat", 3)
    assert (ran.code, ran.err) == (0, "")

    labels = probe.array("answer", made.path, "stretch", 0, *probe.images([CHINA]))
    labels = labels.reshape(CHINA.shape[:2])
    classes = class_set(names)
    overlay = tmp_path / "out" / "china-overlay.png"
    # Python's has a legend beside it.
    blended = draw_overlay(CHINA, labels, classes, 0.5).crop((0, 0, 120, 90))
    np.testing.assert_array_equal(load_image(overlay), np.asarray(blended))
    shares = [f"{e.name} {share_text(e.share)}" for e in entries_of(labels, classes)]
    assert "undecided" in shares[-1]
    title, line, latency = ran.out.splitlines()
    assert title == "HRViT-b1 to segment 7 classes, fp32, in openvino-cpu"
    written = tmp_path / "out" / "china-labels.png"
    assert line == f"{picture} -> {overlay}, {written}: {', '.join(shares)}"
    ours = Image.open(written)
    theirs = index_image(labels, classes)
    assert ours.mode == "P"
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert 255 in np.asarray(ours)
    np.testing.assert_array_equal(
        np.asarray(ours.convert("RGB")), np.asarray(theirs.convert("RGB"))
    )
    found = re.fullmatch(r"latency p50 (\S+) ms, p90 (\S+) ms, p99 (\S+) ms over 3 .*", latency)
    assert found is not None
    p50, p90, p99 = map(float, found.groups())
    assert 0 < p50 <= p90 <= p99


def test_label_maps_of_many_classes_take_sixteen_bits(
    infer: Infer, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpp_models, "CLASSES", 300)
    made = cpp_models.segmenter(tmp_path, undecided=True)
    picture = write(CHINA, tmp_path / "china.png")
    ran = infer(made.path, picture, "--out", tmp_path / "out", "--repeat", 1)
    assert (ran.code, ran.err) == (0, "")
    labels = probe.array("answer", made.path, "stretch", 0, *probe.images([CHINA]))
    expected = labels.reshape(CHINA.shape[:2]).astype(np.uint16)
    written = np.asarray(Image.open(tmp_path / "out" / "china-labels.png"))
    np.testing.assert_array_equal(written, expected)
    assert 65535 in written


def test_names_do_not_reach_into_the_terminal(infer: Infer, tmp_path: Path) -> None:
    made = cpp_models.segmenter(tmp_path)
    names = ("sky\x1b[31m", "two\nlines", "c1\x9b", "\u202eback", "\u2066x", "é 背景", "lake")
    made = record(made, network=record_names(made, names))
    picture = write(CHINA, tmp_path / "a\x1b[2Jb.png")
    gone = tmp_path / "gone\x1b]0;x.png"
    ran = infer(made.path, picture, gone, "--out", tmp_path / "out", "--repeat", 1)
    assert ran.code == 1
    assert "\x1b" not in ran.out + ran.err
    assert len(ran.out.splitlines()) == 3
    assert r"a\x1b[2Jb.png" in ran.out
    assert r"gone\x1b]0;x.png" in ran.err
    shown = ran.out.splitlines()[1]
    seen = [name for name in class_set(names).names if f"{name} " in shown]
    assert seen
    assert shown.count(" %") == len(seen)


@pytest.mark.parametrize(("limit", "fits"), [("", True), ("0", True), ("10799", False)])
def test_large_images_have_a_limit_that_a_variable_sets(
    infer: Infer, tmp_path: Path, limit: str, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HRVIT_DEPLOY_MAX_PIXELS", limit)
    made = cpp_models.segmenter(tmp_path)
    for suffix in ("png", "jpg"):
        picture = write(CHINA, tmp_path / f"china.{suffix}")
        ran = infer(made.path, picture, "--out", tmp_path / "out", "--repeat", 1)
        assert ran.code == (0 if fits else 1)
        if not fits:
            assert "has 10800 pixels (120 x 90), more than the 10799 that are read" in ran.err
            assert "HRVIT_DEPLOY_MAX_PIXELS=10800" in ran.err


def entry(kind: int, count: int, value: bytes, order: str) -> bytes:
    """EXIF that holds one orientation."""
    head = struct.pack(f"{order}2sHLH", b"II" if order == "<" else b"MM", 42, 8, 1)
    return (
        b"Exif\0\0" + head + struct.pack(f"{order}HHL", 0x112, kind, count) + value + bytes(4)
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", range(1, 13))
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_odd_exif_is_read_as_python_reads_it(
    probe: Probe, tmp_path: Path, order: str, kind: int, count: int
) -> None:
    width = {1: "B", 6: "B", 4: "L", 9: "L"}.get(kind, "H")
    value = struct.pack(f"{order}{width}", 6).ljust(4, b"\0")
    path = tmp_path / "image.jpg"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="3"/>'
    GREY.save(path, exif=entry(kind, count, value, order), xmp=xmp)
    theirs = load_image(path)
    pixels = probe.array("read", path, dtype=np.uint8).reshape(theirs.shape)
    assert np.abs(pixels.astype(int) - theirs).max() <= JPEG_ROUNDING


def record_names(made: Any, names: tuple[str, ...]) -> Any:
    from dataclasses import replace

    return replace(made.manifest.network, class_names=names)


def test_classifiers_tell_the_five_likeliest(infer: Infer, tmp_path: Path) -> None:
    made = cpp_models.classifier(tmp_path, OutputFormat.LOGITS)
    picture = write(CHINA, tmp_path / "china.png")
    ran = infer(made.path, picture, "--out", tmp_path / "out", "--repeat", 1)
    assert ran.code == 0, ran.err
    title, line, _ = ran.out.splitlines()
    assert title == "HRViT-b1 to classify 7 classes, fp32, in openvino-cpu"
    assert line.startswith(f"{picture}: ")
    shares = [float(share.strip("<")) for share in re.findall(r"(<?[\d.]+) %", line)]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert not (tmp_path / "out").exists()


def test_images_of_one_name_get_an_overlay_each(infer: Infer, tmp_path: Path) -> None:
    made = cpp_models.segmenter(tmp_path)
    twins = [write(CHINA, tmp_path / folder / "a.png") for folder in ("one", "two")]
    words = (made.path, *twins, "--out", tmp_path / "out", "--repeat", 2, "--parallel", 2)
    ran = infer(*words, "--threads", 1, "--fit", "pad")
    assert ran.code == 0, ran.err
    overlays = {file.name for file in (tmp_path / "out").iterdir()}
    kinds = ("overlay", "labels")
    assert overlays == {f"{name}-{kind}.png" for name in ("a", "a-2") for kind in kinds}
    assert "over 4 answers" in ran.out


USAGE = {
    "": "no model was given; see hrvit_infer --help",
    "model.onnx": "no image was given; see hrvit_infer --help",
    "model.onnx a.png --fast": "there is no option --fast; see hrvit_infer --help",
    "model.onnx a.png --out": "--out wants a value; see hrvit_infer --help",
    "model.onnx a.png --repeat 0": "--repeat '0' is no number of anything; give a whole number",
    "model.onnx a.png --threads x": "--threads 'x' is no number of anything",
    "model.onnx a.png --fit slide": "--fit 'slide' is not known; give pad or stretch",
}


@pytest.mark.parametrize("line", USAGE)
def test_command_line_that_is_wrong_exits_2(infer: Infer, line: str) -> None:
    ran = infer(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {USAGE[line]}")
    assert len(ran.err.splitlines()) == 1


def test_help_names_every_option(infer: Infer) -> None:
    ran = infer("--help")
    assert ran.code == 0
    for option in ("--out", "--repeat", "--threads", "--parallel", "--fit", "--precision"):
        assert option in ran.out


def test_model_that_is_none_exits_1(infer: Infer, tmp_path: Path) -> None:
    ran = infer(tmp_path / "none.onnx", "a.png")
    assert ran.code == 1
    assert ran.err == f"error: there is no {tmp_path / 'none.onnx'}; check the path\n"


def test_folder_that_cannot_be_made_is_told(infer: Infer, tmp_path: Path) -> None:
    made = cpp_models.segmenter(tmp_path)
    picture = write(CHINA, tmp_path / "china.png")
    ran = infer(made.path, picture, "--out", picture / "out", "--repeat", 1)
    assert ran.code == 1
    assert ran.err.startswith(f"error: cannot make folder {picture / 'out'}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written_to_is_told_before_the_work(
    infer: Infer, tmp_path: Path
) -> None:
    made = cpp_models.segmenter(tmp_path)
    picture = write(CHINA, tmp_path / "china.png")
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o555)
    ran = infer(made.path, picture, "--out", shut, "--repeat", 1)
    assert ran.code == 1
    assert ran.err.startswith(f"error: cannot write to folder {shut}: ")
    assert len(ran.err.splitlines()) == 1


def test_network_is_answered_by_the_device_if_asked(
    infer: Infer, exported: Path, tmp_path: Path
) -> None:
    (path,) = (exported / "export").glob("*.onnx")
    picture = write(CHINA, tmp_path / "china.png")
    words = (path, picture, "--out", tmp_path / "out", "--repeat", 1, "--precision", "device")
    ran = infer(*words)
    assert ran.code == 0, ran.err
    assert re.search(r"in openvino-cpu(-bf16|-f16)?$", ran.out.splitlines()[0])
