"""A folder to hand over appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_artefacts import artefact

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.embed.folder import copy_files, whole_folder
from hrvit_deploy.errors import ArtefactError


def test_folder_appears_with_all_that_was_put_in_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "service"
    with whole_folder(target) as folder:
        (folder / "a").write_text("a")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["a"]
    assert [path.name for path in target.parent.iterdir()] == ["service"]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    def half() -> None:
        with whole_folder(tmp_path / "service") as folder:
            (folder / "a").write_text("a")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        half()
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "service"
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(ArtefactError, match="is there already"), whole_folder(target):
        pass
    assert (target / "mine").exists()


def test_empty_folder_may_be_taken(tmp_path: Path) -> None:
    target = tmp_path / "service"
    target.mkdir()
    with whole_folder(target) as folder:
        (folder / "a").touch()
    assert (target / "a").exists()


def written(target: Path) -> list[str]:
    with whole_folder(target) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a").touch()
        (folder / "b").touch()
    return sorted(path.name for path in target.iterdir())


def test_a_folder_is_filled_where_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory, a link, a disk: none of them can be removed and made again."""
    here, linked = tmp_path / "here", tmp_path / "linked"
    for folder in (here, linked):
        folder.mkdir()
    monkeypatch.chdir(here)
    before = here.stat().st_ino
    assert written(Path()) == ["b", "deep"]
    assert here.stat().st_ino == before
    (tmp_path / "link").symlink_to(linked)
    assert written(tmp_path / "link") == ["b", "deep"]
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "dangling").symlink_to("nowhere")
    assert written(tmp_path / "dangling") == ["b", "deep"]
    assert (tmp_path / "nowhere" / "b").is_file()


def test_a_new_disk_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    assert written(tmp_path) == ["b", "deep", "lost+found"]


def test_of_two_processes_one_writes_it(tmp_path: Path) -> None:
    def both(target: Path) -> None:
        with whole_folder(target) as first:
            (first / "a").touch()
            written(target)

    filled = tmp_path / "filled"
    filled.mkdir()
    for target in (tmp_path / "made", filled):
        with pytest.raises(ArtefactError, match="is there already"):
            both(target)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["b", "deep"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filled", "made"]


def test_what_a_full_disk_says_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(ArtefactError, match=r"cannot write to .*No space left"):
            fill(target)
        assert not target.exists() or not list(target.iterdir())


def fill(target: Path) -> None:
    with whole_folder(target) as folder:
        (folder / "a").touch()
        raise OSError(28, "No space left on device")


def test_what_was_put_in_its_place_meanwhile_stays(tmp_path: Path) -> None:
    def meanwhile() -> None:
        with whole_folder(tmp_path) as folder:
            (folder / "a").touch()
            (folder / "b").touch()
            (tmp_path / "b").write_text("mine")

    with pytest.raises(ArtefactError, match="is there already"):
        meanwhile()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_text() == "mine"


def test_copy_is_an_artefact_under_its_new_name(tmp_path: Path) -> None:
    source = artefact(tmp_path)
    folder = tmp_path / "copy"
    folder.mkdir()
    copied = copy_files(source, folder, "model")
    assert copied.name == "model.onnx"
    assert open_artefact(copied).manifest == source.manifest
