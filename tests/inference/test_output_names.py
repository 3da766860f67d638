"""Every image has a name of its own below the output folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import labelled

from hrvit_deploy.errors import InputError
from hrvit_deploy.inference.output_names import name_outputs


def images(folder: Path, *names: str) -> Path:
    for name in names:
        labelled.save(folder / name, labelled.picture(0, 8, 8))
    return folder


def names(*given: Path, out: Path = Path("predictions")) -> list[str]:
    return [picture.name for picture in name_outputs(given, out)]


def test_a_file_is_called_after_itself_and_a_folder_is_mirrored(tmp_path: Path) -> None:
    images(tmp_path, "one.png", "in/a.png", "in/deep/er/b.c.jpg")
    assert names(tmp_path / "one.png") == ["one"]
    assert names(tmp_path / "in") == ["a", "deep/er/b.c"]


def test_names_that_clash_are_told_apart(tmp_path: Path) -> None:
    images(tmp_path / "x", "a.png", "a.jpg", "a.jpg.png", "B.png")
    images(tmp_path / "y", "a.png", "b.jpg")
    found = names(tmp_path / "x", tmp_path / "y", tmp_path / "y" / "a.png")
    assert len({name.casefold() for name in found}) == len(found) == 7
    assert found == ["B.png", "a.jpg", "a.jpg-2", "a.png", "a.png-2", "b.jpg", "a.png-3"]


def test_files_that_are_not_there_are_named_too(tmp_path: Path) -> None:
    assert names(tmp_path / "nowhere.png") == ["nowhere"]


def test_earlier_answers_are_no_images(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "out/a-overlay.png")
    assert names(tmp_path, out=tmp_path / "out") == ["a"]


def test_predictions_into_the_folder_of_the_images_are_refused(tmp_path: Path) -> None:
    images(tmp_path / "in", "a.png")
    for out in (tmp_path / "in", tmp_path):
        with pytest.raises(InputError, match=r"in lie in .*, where predictions go") as caught:
            names(tmp_path / "in", out=out)
        assert "--out" in caught.value.hint
    assert names(tmp_path / "in" / "a.png", out=tmp_path / "in") == ["a"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image in"):
        names(tmp_path)
