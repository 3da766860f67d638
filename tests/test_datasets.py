"""Folders of the well-known sets are found, and their labels read as the sets define them."""

from __future__ import annotations

import struct
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import labelled

from hrvit_deploy.datasets import VOID, Layout, Sample, find_dataset, read_labels
from hrvit_deploy.errors import InputError
from hrvit_deploy.options import Task


def test_each_layout_is_told_by_its_folders(tmp_path: Path) -> None:
    made = {
        Layout.ADE20K: labelled.ade20k(tmp_path / "a"),
        Layout.CITYSCAPES: labelled.cityscapes(tmp_path / "c", np.zeros((32, 64))),
        Layout.IMAGENET: labelled.imagenet(tmp_path / "i"),
    }
    for layout, folder in made.items():
        found = find_dataset(folder)
        assert found.layout is layout
        assert found == find_dataset(folder, layout)
        assert found.task is (Task.CLASSIFY if layout is Layout.IMAGENET else Task.SEGMENT)


def test_ade20k_pairs_by_name_whatever_the_image_ends_in(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path, count=2)
    image = folder / "images/validation/v1.png"
    Image.open(image).save(image.with_suffix(".jpg"))
    image.unlink()
    samples = find_dataset(folder).samples
    assert [sample.image.name for sample in samples] == ["v0.png", "v1.jpg"]
    assert [s.labels.name for s in samples if s.labels] == ["v0.png", "v1.png"]


def test_imagenet_classes_are_folders_in_order(tmp_path: Path) -> None:
    labelled.imagenet(tmp_path / "val", ("n02", "n01", "n10"), each=2)
    (tmp_path / "val" / ".cache").mkdir()
    found = find_dataset(tmp_path)
    assert found.classes == ("n01", "n02", "n10")
    assert [sample.label for sample in found.samples] == [0, 0, 1, 1, 2, 2]
    assert found.samples[0].image.parent.name == "n01"


def test_ade20k_counts_from_one_and_leaves_zero_out(tmp_path: Path) -> None:
    path = labelled.save(tmp_path / "a.png", np.array([[0, 1, 150], [2, 255, 3]], np.uint8))
    labels = read_labels(Sample(path, path), Layout.ADE20K)
    assert labels.tolist() == [[VOID, 0, 149], [1, VOID, 2]]


def test_cityscapes_takes_train_ids_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x_gtFine_labelTrainIds.png"
    labelled.save(path, np.array([[0, 18, 255]], np.uint8))
    assert read_labels(Sample(path, path), Layout.CITYSCAPES).tolist() == [[0, 18, VOID]]


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path) -> None:
    path = tmp_path / "x_gtFine_labelIds.png"
    # Ego vehicle, road, sidewalk, parking, sky, car, trailer, bicycle, and beyond the list.
    labelled.save(path, np.array([[1, 7, 8, 9, 23, 26, 30, 33, 34, 255]], np.uint8))
    labels = read_labels(Sample(path, path), Layout.CITYSCAPES)
    assert labels.tolist() == [[VOID, 0, 1, VOID, 10, 13, VOID, 18, VOID, VOID]]


def test_cityscapes_prefers_train_ids(tmp_path: Path) -> None:
    labelled.cityscapes(tmp_path, np.full((32, 64), 7), "labelIds")
    (sample,) = find_dataset(tmp_path).samples
    assert sample.labels is not None
    assert sample.labels.name.endswith("labelIds.png")
    labelled.cityscapes(tmp_path, np.zeros((32, 64)))
    (sample,) = find_dataset(tmp_path).samples
    assert sample.labels is not None
    assert sample.labels.name.endswith("labelTrainIds.png")


def test_another_class_may_be_left_out(tmp_path: Path) -> None:
    path = labelled.save(tmp_path / "a.png", np.array([[0, 1, 2, 3]], np.uint8))
    labels = read_labels(Sample(path, path), Layout.ADE20K, ignore_index=1)
    assert labels.tolist() == [[VOID, 0, VOID, 2]]


def test_palettes_and_sixteen_bits_are_indices_too(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 3]], np.uint8)
    indexed = Image.fromarray(indices).convert("P")
    indexed.putpalette([9, 9, 9] * 256)
    indexed.save(tmp_path / "p.png")
    labelled.save(tmp_path / "w.png", indices.astype(np.uint16) + 300)
    palette = read_labels(Sample(Path(), tmp_path / "p.png"), Layout.ADE20K)
    wide = read_labels(Sample(Path(), tmp_path / "w.png"), Layout.ADE20K)
    assert palette.tolist() == [[VOID, 0], [1, 2]]
    assert wide.tolist() == [[299, 300], [301, 302]]


def test_coloured_and_broken_labels_are_refused(tmp_path: Path) -> None:
    coloured = labelled.save(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    broken = tmp_path / "b.png"
    broken.write_bytes(coloured.read_bytes()[:40])
    with pytest.raises(InputError, match="no class indices but RGB"):
        read_labels(Sample(coloured, coloured), Layout.ADE20K)
    with pytest.raises(InputError, match=r"the labels .*b\.png cannot be decoded"):
        read_labels(Sample(broken, broken), Layout.ADE20K)


def test_missing_labels_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path)
    (folder / "annotations/validation/v1.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 images have no labels, first .*v1\.png"):
        find_dataset(folder)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_folder_without_a_set_is_refused(tmp_path: Path, layout: Layout) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError) as caught:
            find_dataset(folder, layout)
        assert caught.value.hint


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_labels_of_few_bits_are_read_as_they_are_stored(
    tmp_path: Path, bits: int, suffix: str, *, colours: bool
) -> None:
    """Pillow spreads grey values of few bits over 0 to 255."""
    values = np.arange(1 << min(bits, 4), dtype=np.uint8).reshape(2, -1).repeat(4, axis=1)
    path = tmp_path / f"a{suffix}"
    path.write_bytes((png if suffix == ".png" else tiff)(values, bits, colours=colours))
    expected = values.astype(int) - 1
    read = read_labels(Sample(path, path), Layout.ADE20K)
    np.testing.assert_array_equal(read, expected)


def test_where_white_is_nought_labels_are_no_other(tmp_path: Path) -> None:
    values = np.arange(16, dtype=np.uint8).reshape(2, 8)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, 4, white_is_zero=True))
    read = read_labels(Sample(path, path), Layout.ADE20K)
    np.testing.assert_array_equal(read, values.astype(int) - 1)


def png(values: NDArray[np.uint8], bits: int, *, colours: bool = False) -> bytes:
    """A PNG written by hand: Pillow writes no grey of 2 and 4 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">L", len(data)) + kind + data + struct.pack(">L", crc32(kind + data))
        )

    height, width = values.shape
    head = struct.pack(">LLBBBBB", width, height, bits, 3 if colours else 0, 0, 0, 0)
    table = chunk(b"PLTE", bytes(7 * i % 256 for i in range(3 << bits))) if colours else b""
    rows = b"".join(b"\0" + row for row in packed(values, bits))
    parts = [chunk(b"IHDR", head), table, chunk(b"IDAT", compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(
    values: NDArray[np.uint8], bits: int, *, colours: bool = False, white_is_zero: bool = False
) -> bytes:
    height, width = values.shape
    data = b"".join(packed(values, bits))
    kind = 3 if colours else int(not white_is_zero)
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, kind), (273, 8)]
    entries += [(277, 1), (278, height), (279, len(data))]
    count = 3 << bits
    after = 8 + len(data)
    directory = after + (2 * count if colours else 0)
    table = struct.pack(f"<{count}H", *range(count)) if colours else b""
    body = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in entries)
    if colours:
        body += struct.pack("<HHLL", 320, 3, count, after)
    number = struct.pack("<H", len(entries) + colours)
    return struct.pack("<2sHL", b"II", 42, directory) + data + table + number + body + bytes(4)


def packed(values: NDArray[np.uint8], bits: int) -> list[bytes]:
    """The rows, each value in so many bits, the first in the highest."""
    spread = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :]
    return [np.packbits(row).tobytes() for row in spread.reshape(len(values), -1)]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000"])
def test_labels_of_a_lossy_format_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.ones((8, 8), np.uint8)).save(path, kind)
    with pytest.raises(InputError, match=rf"a\.png is {kind}, which changes values") as caught:
        read_labels(Sample(path, path), Layout.ADE20K)
    assert "give the PNG" in caught.value.hint


def test_a_tiff_that_holds_a_jpeg_is_lossy_too(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.ones((16, 16), np.uint8)).save(path, "TIFF", compression="jpeg")
    with pytest.raises(InputError, match="changes values"):
        read_labels(Sample(path, path), Layout.ADE20K)


def test_pictures_of_other_kinds_and_labels_without_an_image_are_named(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path)
    images = folder / "images/validation"
    (images / "v1.png").rename(images / "v1.jfif")
    found = find_dataset(folder)
    assert [sample.image.name for sample in found.samples] == ["v0.png", "v2.png"]
    passed_over, unpaired = found.notes
    assert passed_over.startswith(
        f"1 file was passed over: {images / 'v1.jfif'}; images end in"
    )
    assert unpaired.startswith("1 of 3 label maps have no image: ")
    assert unpaired.endswith("v1.png")
    (images / "v1.jfif").rename(images / "v1.png")
    assert not find_dataset(folder).notes


def test_a_city_counts_labels_of_the_kind_it_takes(tmp_path: Path) -> None:
    folder = labelled.cityscapes(tmp_path, np.zeros((32, 64)))
    city = folder / "gtFine/val" / labelled.CITY
    for name in ("0_1_gtFine_color", "0_1_gtFine_instanceIds"):
        labelled.save(city / f"{labelled.CITY}_{name}.png", np.zeros((2, 2), np.uint8))
    assert not find_dataset(folder).notes
    labelled.save(city / "x_gtFine_labelTrainIds.png", np.zeros((2, 2), np.uint8))
    assert "1 of 2 label maps" in find_dataset(folder).notes[0]


def test_class_folders_tell_what_they_pass_over(tmp_path: Path) -> None:
    labelled.imagenet(tmp_path)
    (tmp_path / "b" / "photo.HEIC").touch()
    [note] = find_dataset(tmp_path).notes
    assert "photo.HEIC" in note


def test_images_where_the_layout_has_none_are_named(tmp_path: Path) -> None:
    folders = {
        "images/validation/deep": labelled.ade20k(tmp_path / "a"),
        "leftImg8bit/val/aachen": labelled.cityscapes(tmp_path / "c", np.zeros((32, 64))),
        "": labelled.imagenet(tmp_path / "i"),
    }
    for place, folder in folders.items():
        labelled.save(folder / place / "stray.png", labelled.picture(0, 8, 8))
        [note] = find_dataset(folder).notes
        assert note.startswith("1 image is not where ")
        assert note.endswith(str(folder / place / "stray.png"))


def test_a_set_of_other_kinds_alone_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "images/validation"
    folder.mkdir(parents=True)
    (folder / "a.heic").touch()
    with pytest.raises(InputError, match=r"no image in"):
        find_dataset(tmp_path)


def test_a_set_may_lie_below_a_folder_called_images(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path / "images" / "leftImg8bit" / "images", count=2)
    for sample in find_dataset(folder).samples:
        assert sample.labels is not None
        assert sample.labels.relative_to(folder) == Path(
            "annotations", "validation", sample.image.name
        )
