"""Folders that cannot be written to are found before the work, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.outputs import make_folder, require_writable, workplace
from hrvit_deploy.progress import SilentProgress


def test_a_folder_that_can_be_made_will_do_and_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    require_writable(tmp_path, tmp_path / "a" / "b", tmp_path / "dangling", Path())
    assert [path.name for path in tmp_path.iterdir()] == ["dangling"]


def shut(tmp_path: Path) -> dict[str, Path]:
    """Folders that nobody can write to, root neither."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    return {
        "is no folder": tmp_path / "file",
        "file is no folder": tmp_path / "file" / "below",
        "name too long": tmp_path / ("x" * 300),
        "lead in a circle": tmp_path / "loop",
    }


def test_what_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    for says, folder in shut(tmp_path).items():
        with pytest.raises(ArtefactError, match="cannot write to") as caught:
            require_writable(folder)
        assert says in caught.value.message.lower()
        assert "--out" in caught.value.hint


def test_what_lies_between_goes_beside_the_output(tmp_path: Path) -> None:
    progress = SilentProgress()
    assert workplace(tmp_path / "calib", tmp_path / "out", progress) == tmp_path / "calib"
    assert not progress.notes
    usual = shut(tmp_path)["is no folder"]
    assert workplace(usual, tmp_path / "out", progress) == tmp_path / "out" / "file"
    assert "cannot be written to" in progress.notes[0]


def test_a_link_that_leads_nowhere_is_made_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("store/deep")
    make_folder(tmp_path / "dangling")
    assert (tmp_path / "store" / "deep").is_dir()
