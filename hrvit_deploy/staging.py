"""Files that appear together, whole, or not at all, whatever breaks off.

What is written waits in a hidden folder beside its place. Once all of it is there, a journal
that names it is put beside the place by one rename: from then on it counts as written, and
who comes next, the same process or another, moves what is left to be moved. A process holds a
lock on its hidden folder as long as it lives, so that the next one knows what to clear away.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.outputs import HINT, make_folder

try:
    import fcntl
except ImportError:  # pragma: no cover
    fcntl = None  # type: ignore[assignment]

# In a hidden folder beside its files: what stood in their places, and a file that is locked
# as long as the process lives.
FORMER = ".former-"
ALIVE = ".alive"
JOURNAL = ".commit"
# What writing fails with for want of room or permission, and not by a mistake.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)
Identity = tuple[int, int, int] | None


@dataclass(frozen=True)
class Journal:
    """What is to be moved where the journal lies, and what it replaces.

    Attributes:
        folder: Name of the hidden folder that holds the files.
        files: Their names, in the order in which they are moved.
        leftovers: Names of files that belong to nothing once these stand.
    """

    folder: str
    files: tuple[str, ...]
    leftovers: tuple[str, ...] = ()


@contextmanager
def staging(target: Path, unchanged: Callable[[], bool] | None = None) -> Iterator[Path]:
    """Yield a folder beside ``target`` whose files take their places if all goes well.

    After an error, an interrupt or a kill nothing has changed, or all files have taken their
    places: those there are opened by :func:`settle` first.

    Args:
        target: The file that the others go with: weights, sidecar, chart.
        unchanged: Says whether the places are still to be written to, under a lock; by
            default, whether ``target`` is the file it was.

    Raises:
        ArtefactError: Nothing can be written there, or another process wrote ``target``
            meanwhile.
    """
    try:
        make_folder(target.parent)
    except OSError as error:
        raise unwritable(target.parent, error) from error
    with private_folder(target.parent, target.stem) as folder:
        settle(target)
        before = identity(target)
        try:
            yield folder
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise unwritable(Path(error.filename or target.parent), error) from error
        staged = sorted(staged_in(folder), key=lambda path: _turn(path, target))
        names = [path.name for path in staged]
        # Weights of a larger graph that bore this name belong to nothing any more.
        leftover = f"{target.name}.data"
        leftovers = (leftover,) if target.name in names and leftover not in names else ()
        with locked(target.parent):
            _finish(target)
            same = identity(target) == before if unchanged is None else unchanged()
            if not same:
                raise ArtefactError(
                    f"another process wrote {target} meanwhile, and that stands",
                    "run the command again to replace it",
                )
            commit(folder, names, journal_of(target), leftovers)


def journal_of(target: Path) -> Path:
    """Return where the journal of a file and those that go with it lies, if there is one."""
    return target.parent / f".{target.stem}{JOURNAL}"


def commit(
    folder: Path, names: Sequence[str], journal: Path, leftovers: tuple[str, ...] = ()
) -> None:
    """Move files, or folders, from a hidden folder to the one it lies in, all or none.

    Args:
        folder: Right beside their places.
        names: In the order in which they are moved.
        journal: Where what is to be done is noted while it is done.
        leftovers: Names of files there that are removed then.

    Raises:
        ArtefactError: They cannot be moved; what stood in their places stands.
    """
    place = folder.parent
    if not names:
        return
    for name in names:
        if (place / name).is_dir() and not (folder / name).is_dir():
            raise ArtefactError(f"cannot write {place / name}: it is a folder", HINT)
    try:
        _flush(folder)
        leftovers = tuple(name for name in leftovers if (place / name).is_file())
        if len(names) == 1 and not leftovers:
            (folder / names[0]).replace(place / names[0])
            return
        _keep_former(folder, names)
        noted = folder / journal.name
        noted.write_bytes(msgspec.json.encode(Journal(folder.name, tuple(names), leftovers)))
        noted.replace(journal)
    except OSError as error:
        raise unwritable(place, error) from error
    try:
        _replay(journal)
    except OSError as error:
        _roll_back(journal)
        raise unwritable(place, error) from error
    except BaseException:
        # Interrupted: it is written by now, and half of it would be nothing.
        _replay(journal)
        raise


def staged_in(folder: Path) -> list[Path]:
    """Return what was put into a hidden folder, in no order."""
    return [path for path in folder.iterdir() if path.name != ALIVE]


def settle(target: Path) -> None:
    """Finish what a process that was killed had begun to write, if it had.

    Raises:
        ArtefactError: It cannot be finished, such as in a folder mounted read-only.
    """
    journal = journal_of(target)
    if not os.path.lexists(journal):
        return
    with locked(target.parent):
        _finish(target)


def settle_all(folder: Path) -> None:
    """Finish everything that killed processes had begun to write in a folder.

    Raises:
        ArtefactError: Something cannot be finished.
    """
    for journal in folder.glob(f".*{JOURNAL}"):
        # With any ending: the journal is named after what comes before it.
        settle(folder / f"{journal.name[1 : -len(JOURNAL)]}.json")


def _finish(target: Path) -> None:
    """Do what :func:`settle` does, under a lock that is held."""
    try:
        _replay(journal_of(target))
    except OSError as error:
        raise ArtefactError(
            f"{target} was being written when a process was killed, and cannot be finished:"
            f" {error.strerror or error}",
            "run hrvit-deploy inspect on it where its folder can be written to",
        ) from error


def _replay(journal: Path) -> None:
    """Do what a journal says is left to be done."""
    noted = _read(journal)
    if noted is None:
        return
    place = journal.parent
    folder = place / noted.folder
    for name in noted.files:
        if os.path.lexists(folder / name):
            (folder / name).replace(place / name)
    for name in noted.leftovers:
        (place / name).unlink(missing_ok=True)
    journal.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _roll_back(journal: Path) -> None:
    """Put back what stood where a journal's files were to go."""
    noted = _read(journal)
    if noted is None:
        return
    place = journal.parent
    folder = place / noted.folder
    for name in noted.files:
        if os.path.lexists(folder / name):
            continue
        former = folder / f"{FORMER}{name}"
        with suppress(OSError):
            if former.exists():
                former.replace(place / name)
            else:
                (place / name).replace(folder / name)
    with suppress(OSError):
        journal.unlink()


def _read(journal: Path) -> Journal | None:
    """Read a journal; None if there is none, or none of ours."""
    try:
        noted = msgspec.json.decode(journal.read_bytes(), type=Journal)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        noted = None
    bare = noted is not None and all(
        is_file_name(name) for name in (noted.folder, *noted.files, *noted.leftovers)
    )
    # It comes from outside as all files do, and moves nothing but what lies hidden beside it.
    hidden = noted is not None and noted.folder.startswith(".")
    data = noted is not None and all(name.endswith(".data") for name in noted.leftovers)
    if noted is None or not (bare and hidden and data):
        journal.unlink(missing_ok=True)
        return None
    return noted


def _keep_former(folder: Path, names: Sequence[str]) -> None:
    """Give what stands in the places a second name in the hidden folder, to be put back."""
    for name in names:
        present = folder.parent / name
        if present.is_file():
            with suppress(OSError):
                os.link(present, folder / f"{FORMER}{name}", follow_symlinks=False)


def is_file_name(name: str) -> bool:
    """Return whether a name is one of a file in the same folder, and leads nowhere else."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _turn(path: Path, target: Path) -> tuple[int, str]:
    """Return when a staged file takes its place: weights, graph, sidecar."""
    order = 2 if path.suffix == ".json" else int(path.name == target.name)
    return order, path.name


def identity(path: Path) -> Identity:
    """Return what tells a file from another that has its name; None if there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def _flush(folder: Path) -> None:
    """Write the files of a folder to the disk, so that they outlast a loss of power."""
    for path in staged_in(folder):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def private_folder(place: Path, stem: str) -> Iterator[Path]:
    """Yield a hidden folder that no other process touches, and that is gone afterwards.

    Folders that processes of the same name left behind when they were killed are removed.

    Args:
        place: An existing folder, which it is made in.
        stem: Whose files it will hold.

    Raises:
        ArtefactError: It cannot be made.
    """
    with ExitStack() as held:
        try:
            with locked(place):
                _clear(place, stem)
                folder = Path(tempfile.mkdtemp(prefix=f".{stem}-", dir=place))
                held.callback(_remove, folder, stem)
                held.enter_context(_alive(folder))
        except OSError as error:
            raise unwritable(place, error) from error
        yield folder


def _remove(folder: Path, stem: str) -> None:
    """Remove a hidden folder, unless a journal says that its files are still to be moved."""
    with suppress(OSError):
        noted = _read(folder.parent / f".{stem}{JOURNAL}")
        if noted is not None and noted.folder == folder.name:
            return
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alive(folder: Path) -> Iterator[None]:
    """Tell other processes, by a lock, that this one still works in a hidden folder."""
    with (folder / ALIVE).open("wb") as file:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear(place: Path, stem: str) -> None:
    """Remove the hidden folders of processes that live no more."""
    ours = re.compile(rf"\.{re.escape(stem)}-[a-z0-9_]{{8}}")
    noted = _read(place / f".{stem}{JOURNAL}")
    for path in place.iterdir():
        known = noted is not None and path.name == noted.folder
        if ours.fullmatch(path.name) and path.is_dir() and not known and _abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Return whether no process holds the lock of a folder, as far as locks work there."""
    if fcntl is None:
        return False
    try:
        with (folder / ALIVE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        # Killed before it had one: it is made under the lock that is held here.
        return True
    except OSError:
        return False
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes, where its file system has locks."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # A file system without locks is written to all the same.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def unwritable(place: Path, error: OSError) -> ArtefactError:
    """Return what is said where something cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ArtefactError(
        f"cannot write to {place}: {error.strerror or error}",
        "make room there, or choose another folder with --out" if full else HINT,
    )
