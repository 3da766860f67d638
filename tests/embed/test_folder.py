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


def test_copy_is_an_artefact_under_its_new_name(tmp_path: Path) -> None:
    source = artefact(tmp_path)
    folder = tmp_path / "copy"
    folder.mkdir()
    copied = copy_files(source, folder, "model")
    assert copied.name == "model.onnx"
    assert open_artefact(copied).manifest == source.manifest
