"""Write a folder that appears under its name only when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from uuid import uuid4

from hrvit_deploy import standalone
from hrvit_deploy.artefact import Artefact
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.outputs import HINT, require_writable

# Name of the folder of modules that need NumPy and Pillow alone.
STANDALONE = "standalone"
# Where files wait in a folder that is filled; two processes cannot both make it.
STAGED = ".hrvit-deploy-embed"
# What a new disk holds.
NEVER_EMPTY = ("lost+found",)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder whose files take their place at ``target`` if all goes well.

    After an error or an interrupt it is removed and nothing has changed.

    Args:
        target: Its place, or a link to it. An empty folder is filled as it is: it may be
            the working directory, or a disk of its own.

    Raises:
        ArtefactError: Something is there already, or nothing can be written there.
    """
    require_writable(target)
    # A link stays, and what it leads to is written.
    place = Path(os.path.realpath(target))
    if place.exists():
        with _staged(target, place / STAGED) as staged:
            yield staged
            _fill(staged, place, target)
        return
    with _staged(target, place.parent / f".{place.name}-{uuid4().hex[:8]}") as staged:
        yield staged
        try:
            staged.rename(place)
        except OSError as error:
            # Another process was quicker.
            raise _taken(target) from error


@contextmanager
def _staged(target: Path, staged: Path) -> Iterator[Path]:
    """Make a folder and remove it again; what cannot be written is one line."""
    if staged.parent.is_dir() and staged.name == STAGED and _holds(staged.parent):
        raise _taken(target)
    try:
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir()
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield staged
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _holds(place: Path) -> bool:
    """Return whether there is something in a folder, or it is none."""
    if not place.is_dir():
        return True
    return any(entry.name not in NEVER_EMPTY for entry in place.iterdir())


def _fill(staged: Path, place: Path, target: Path) -> None:
    """Move what was staged in a folder to its place there, all or nothing."""
    moved: list[Path] = []
    entries = sorted(staged.iterdir())
    if any((place / entry.name).exists() for entry in entries):
        raise _taken(target)
    try:
        for entry in entries:
            entry.rename(place / entry.name)
            moved.append(place / entry.name)
    except BaseException:
        for entry in moved:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        raise


def _taken(target: Path) -> ArtefactError:
    return ArtefactError(
        f"{target} is there already",
        "remove it, or choose another folder with --out",
    )


def _unwritable(target: Path, error: OSError) -> ArtefactError:
    return ArtefactError(f"cannot write to {target}: {error.strerror or error}", HINT)


def copy_files(artefact: Artefact, folder: Path, name: str = "") -> Path:
    """Copy an artefact with its sidecar and the weights beside it.

    Args:
        artefact: A graph or a plan.
        folder: An existing folder.
        name: Name of the copy without its ending, in place of the artefact's own. A graph
            whose weights lie beside it keeps its own, since it names them.

    Returns:
        The copied file.
    """
    beside = artefact.manifest.graph.external_data if artefact.manifest.graph else {}
    stem = name if name and not beside else artefact.path.stem
    target = folder / f"{stem}{artefact.path.suffix}"
    shutil.copyfile(artefact.path, target)
    shutil.copyfile(artefact.sidecar, target.with_suffix(".json"))
    for weights in beside:
        shutil.copyfile(artefact.path.parent / weights, folder / weights)
    return target


def copy_standalone(folder: Path) -> None:
    """Copy the modules that need NumPy and Pillow alone, as they are, into a folder's own."""
    target = folder / STANDALONE
    target.mkdir()
    with resources.as_file(resources.files(standalone)) as sources:
        for source in sorted(sources.glob("*.py")):
            shutil.copyfile(source, target / source.name)
