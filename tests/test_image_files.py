"""Folders of images are listed whole and once, and what is left out of them is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hrvit_deploy import image_files
from hrvit_deploy.errors import InputError
from hrvit_deploy.image_files import find_listing, list_folder, list_images, listed_images


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_images(folder)]


def test_links_to_folders_are_followed_each_once(tmp_path: Path) -> None:
    store = touch(tmp_path / "store", "1.png", "deep/2.png")
    folder = touch(tmp_path / "images", "own/3.png")
    (folder / "a").symlink_to(store)
    (folder / "b").symlink_to(store)  # again
    (folder / "c").symlink_to(folder)  # a loop
    (folder / "d").symlink_to(folder / "own")  # what lies there itself
    (store / "deep" / "up").symlink_to(store)  # a loop behind a link
    assert names(folder) == ["a/1.png", "a/deep/2.png", "own/3.png"]


@pytest.mark.parametrize(
    "hidden", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".thumbnails/deep"]
)
def test_what_lies_in_hidden_folders_is_left_out(tmp_path: Path, hidden: str) -> None:
    touch(tmp_path, "a.png", f"{hidden}/a.png", f"sub/{hidden}/b.png", ".c.png")
    assert names(tmp_path) == ["a.png"]
    assert not list(list_folder(tmp_path).notes())


def test_a_folder_that_is_hidden_itself_may_be_named(tmp_path: Path) -> None:
    assert names(touch(tmp_path / ".cache", "a.png")) == ["a.png"]


def test_pictures_of_other_kinds_are_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.jfif", "c.GIF", "d.heic", "e.svg", "notes.txt", "x.json")
    (tmp_path / "gone.png").symlink_to("nowhere")
    [note] = list_folder(tmp_path).notes()
    assert note.startswith("5 files were passed over: ")
    assert str(tmp_path / "b.jfif") in note
    assert "..." in note
    assert ".webp" in note


def test_a_folder_of_other_kinds_alone_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image in .*1 file was passed over: .*b\.avif"):
        list_images(touch(tmp_path, "b.avif"))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/validation", "annotations/validation"),
        ("leftImg8bit/val/city", "gtFine/val/city"),
        ("img_dir/val", "ann_dir/val"),
        ("JPEGImages", "SegmentationClass"),
    ],
)
def test_label_maps_are_left_out_of_the_root_of_a_set(
    tmp_path: Path, images: str, labels: str
) -> None:
    touch(tmp_path, f"{images}/a.png", f"{labels}/a.png")
    assert names(tmp_path) == [f"{images}/a.png"]
    [note] = list_folder(tmp_path).notes()
    assert str(tmp_path / labels.split("/", maxsplit=1)[0]) in note
    for folder in (tmp_path / labels, tmp_path / labels.split("/", maxsplit=1)[0]):
        with pytest.raises(InputError, match="holds label maps, no photographs") as caught:
            list_images(folder)
        assert images.split("/", maxsplit=1)[0] in caught.value.hint


def test_a_folder_called_annotations_is_like_any_other_alone(tmp_path: Path) -> None:
    assert names(touch(tmp_path, "annotations/a.png")) == ["annotations/a.png"]
    assert names(tmp_path / "annotations") == ["a.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "shut/b.png")
    (tmp_path / "shut").chmod(0)
    assert "shut" in next(list_folder(tmp_path).notes())
    (tmp_path / "shut").chmod(0o755)


@pytest.mark.parametrize("name", ["list.txt", "list.TXT", "list.lst", "list"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_are_read_whatever_they_are_called_and_begin_with(
    tmp_path: Path, name: str, encoding: str
) -> None:
    touch(tmp_path, "ä.png", "b.png")
    (tmp_path / name).write_bytes("ä.png\r\n# no\r\n\r\nb.png".encode(encoding))
    expected = (tmp_path / "ä.png", tmp_path / "b.png")
    assert find_listing(tmp_path / name).images == expected


def test_names_that_are_no_text_may_be_listed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    touch(tmp_path, name)
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.png\n")
    assert listed_images(tmp_path / "list.txt") == [tmp_path / name]
    assert list_images(tmp_path) == [tmp_path / name]


def test_lines_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(touch(tmp_path / "home", "a.png")))
    (tmp_path / "list.txt").write_text("~/a.png\n")
    assert listed_images(tmp_path / "list.txt") == [tmp_path / "home/a.png"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"gone.png", "line 1: there is no"),
        (b"\n" + b"x" * 5000, "line 2: there is no"),
        (b"\x89PNG\0\0", "is not a list of images"),
        (b"\xff\xfea", "is not a list of images"),
        (b"# nothing", "names no image"),
    ],
)
def test_what_is_no_list_is_refused_in_a_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        listed_images(tmp_path / "list.txt")
    assert caught.value.hint


def test_one_image_is_a_listing_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert find_listing(tmp_path / "a.png").images == (tmp_path / "a.png",)


def test_notes_on_what_is_not_there_are_none(tmp_path: Path) -> None:
    assert image_files.notes_on(tmp_path / "gone") == []
