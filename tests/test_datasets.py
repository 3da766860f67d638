"""Folders of the well-known sets are found, and their labels read as the sets define them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
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
