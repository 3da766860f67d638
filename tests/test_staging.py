"""After whatever happens, the old files or the new ones, all of them, and nothing beside."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.staging import Journal, settle, staging

NAMES = ("a.json", "a.onnx", "a.onnx.data")


def write(folder: Path, version: str, names: tuple[str, ...] = NAMES) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).write_text(version)


def replace_all(folder: Path, version: str = "new", names: tuple[str, ...] = NAMES) -> None:
    with staging(folder / "a.onnx") as hidden:
        write(hidden, version, names)


def state(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def everything(version: str, names: tuple[str, ...] = NAMES) -> dict[str, str]:
    return dict.fromkeys(names, version)


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


class Breaking:
    """Lets so many changes of the file system pass, then breaks off or copies what there is."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self.act, self.count = act, 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("rename", "replace", "unlink", "mkdir", "rmdir", "link"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*words: Any, **options: Any) -> Any:
            self.count += 1
            self.act(self.count)
            return function(*words, **options)

        return watched


def points(tmp_path: Path) -> int:
    """Count the changes of the file system in one replacement."""
    folder = tmp_path / "counted"
    write(folder, "old")
    breaking = Breaking(lambda _: None)
    with pytest.MonkeyPatch.context() as monkeypatch:
        breaking.install(monkeypatch)
        replace_all(folder)
    return breaking.count


def snapshots(folder: Path, out: Path, names: tuple[str, ...] = NAMES) -> list[Path]:
    """Copy what lies in a folder before each change: what a kill there would leave."""
    taken: list[Path] = []
    copy = shutil.copytree

    def act(count: int) -> None:
        target = out / str(count)
        with pytest.MonkeyPatch.context() as plain:
            plain.setattr(os, "mkdir", originals["mkdir"])
            copy(folder, target, symlinks=True)
        taken.append(target)

    originals = {"mkdir": os.mkdir}
    with pytest.MonkeyPatch.context() as monkeypatch:
        Breaking(act).install(monkeypatch)
        replace_all(folder, names=names)
    return taken


@pytest.mark.parametrize("names", [NAMES, NAMES[:2], NAMES[:1]])
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = tmp_path / "folder"
    write(folder, "old")
    # With fewer names, weights of a larger graph are left behind.
    left = {} if "a.onnx" in names else {"a.onnx": "old"}
    kept = {"a.onnx.data": "old"} if names == NAMES[:1] else {}
    new = everything("new", names) | left | kept
    met = set()
    taken = snapshots(folder, tmp_path / "taken", names)
    assert state(folder) == new
    for copy in taken:
        settle(copy / "a.onnx")
        found = {n: text for n, text in state(copy).items() if not n.startswith(".")}
        assert found in (everything("old"), new), copy.name
        met.add("new" if found == new else "old")
        # And the next who writes clears what is left.
        replace_all(copy, "next")
        assert state(copy) == everything("next")
        assert not [path for path in copy.iterdir() if path.is_dir()]
    assert met == {"old", "new"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, full])
def test_an_interrupt_or_a_full_disk_leaves_the_old_or_the_new(
    tmp_path: Path, error: Any
) -> None:
    for last in range(1, points(tmp_path) + 1):
        folder = tmp_path / str(last)
        write(folder, "old")

        def act(count: int, last: int = last) -> None:
            if count == last:
                raise error()

        with pytest.MonkeyPatch.context() as monkeypatch:
            Breaking(act).install(monkeypatch)
            with suppress(KeyboardInterrupt, ArtefactError):
                replace_all(folder)
        settle(folder / "a.onnx")
        found = {n: text for n, text in state(folder).items() if not n.startswith(".")}
        assert found in (everything("old"), everything("new")), last
        replace_all(folder, "next")
        assert state(folder) == everything("next"), last
        assert not [path for path in folder.iterdir() if path.is_dir()], last


def test_what_a_full_disk_refuses_is_taken_back_at_once(tmp_path: Path) -> None:
    for first in range(1, points(tmp_path) + 1):
        folder = tmp_path / str(first)
        write(folder, "old")

        def act(count: int, first: int = first) -> None:
            if count == first:
                raise full()

        with pytest.MonkeyPatch.context() as monkeypatch:
            Breaking(act).install(monkeypatch)
            with suppress(ArtefactError):
                replace_all(folder)
        found = {n: text for n, text in state(folder).items() if not n.startswith(".")}
        if found != everything("new"):
            assert found == everything("old"), first


def test_who_was_slower_is_told(tmp_path: Path) -> None:
    write(tmp_path, "old")

    def slow() -> None:
        with staging(tmp_path / "a.onnx") as hidden:
            write(hidden, "slow")
            replace_all(tmp_path, "fast")

    with pytest.raises(ArtefactError, match="another process wrote"):
        slow()
    assert state(tmp_path) == everything("fast")


def test_threads_leave_one_whole_result(tmp_path: Path) -> None:
    told: list[str] = []

    def one(version: str) -> None:
        for _ in range(20):
            try:
                replace_all(tmp_path, version)
            except ArtefactError as error:
                told.append(error.message)

    threads = [threading.Thread(target=one, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = state(tmp_path)
    assert set(found) == set(NAMES)
    assert len(set(found.values())) == 1
    assert all("another process wrote" in text for text in told)


def test_processes_leave_one_whole_result(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_many, args=(tmp_path, str(i))) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    found = state(tmp_path)
    assert set(found) == set(NAMES)
    assert len(set(found.values())) == 1


def _many(folder: Path, version: str) -> None:
    for _ in range(50):
        try:
            replace_all(folder, version)
        except ArtefactError:
            continue


def test_the_folder_of_who_lives_is_let_alone(tmp_path: Path) -> None:
    with staging(tmp_path / "a.onnx") as first:
        write(first, "first")
        with staging(tmp_path / "a.json") as second:
            assert first.is_dir()
            assert second != first
        assert state(first)["a.onnx"] == "first"


def test_a_killed_process_leaves_what_the_next_one_clears(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from hrvit_deploy.staging import staging\n"
        "with staging(Path(sys.argv[1]) / 'a.onnx') as hidden:\n"
        "    (hidden / 'a.onnx').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    replace_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize(
    "noted",
    [
        b"",
        b"not json",
        b"[]",
        msgspec.json.encode(Journal("../elsewhere", ("a.onnx",))),
        msgspec.json.encode(Journal(".a-12345678", ("../outside",))),
        msgspec.json.encode(Journal("visible", ("a.onnx",))),
        msgspec.json.encode(Journal(".a-12345678", (), ("a.json",))),
        msgspec.json.encode(Journal(".a-12345678", (), ("../x.data",))),
        msgspec.json.encode(Journal(".gone-1234567", ("a.onnx",))),
    ],
)
def test_a_strange_journal_moves_and_removes_nothing(tmp_path: Path, noted: bytes) -> None:
    folder = tmp_path / "folder"
    write(folder, "old")
    write(folder / "visible", "other")
    write(folder / ".a-12345678", "other", ("b.onnx",))
    write(tmp_path / "elsewhere", "other")
    (tmp_path / "x.data").write_text("kept")
    (folder / ".a.commit").write_bytes(noted)
    settle(folder / "a.onnx")
    assert state(folder) == everything("old")
    assert state(tmp_path) == {"x.data": "kept"}
    assert state(tmp_path / "elsewhere") == everything("other")


def test_what_cannot_be_finished_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "old")
    write(tmp_path / ".a-12345678", "new")
    journal = Journal(".a-12345678", NAMES)
    (tmp_path / ".a.commit").write_bytes(msgspec.json.encode(journal))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        with pytest.raises(ArtefactError, match="cannot be finished: Read-only"):
            settle(tmp_path / "a.onnx")
    settle(tmp_path / "a.onnx")
    assert state(tmp_path) == everything("new")
