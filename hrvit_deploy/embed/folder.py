"""Write a folder that appears under its name only when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from hrvit_deploy import standalone
from hrvit_deploy.artefact import Artefact
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.outputs import make_folder, require_writable
from hrvit_deploy.staging import (
    ALIVE,
    commit,
    journal_of,
    locked,
    private_folder,
    settle,
    staged_in,
    unwritable,
)

# Name of the folder of modules that need NumPy and Pillow alone.
STANDALONE = "standalone"
# What a folder that is filled in its place is noted under meanwhile.
FILLING = Path("hrvit-deploy-embed.json")
# What a new disk holds.
NEVER_EMPTY = ("lost+found",)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder whose files take their place at ``target`` if all goes well.

    After an error, an interrupt or a kill nothing has changed, or all files stand.

    Args:
        target: Its place, or a link to it. An empty folder is filled as it is: it may be
            the working directory, or a disk of its own.

    Raises:
        ArtefactError: Something is there already, another process is writing it, or nothing
            can be written there.
    """
    require_writable(target)
    # A link stays, and what it leads to is written.
    place = Path(os.path.realpath(target))
    try:
        if place.exists():
            with _filled(place, target) as staged:
                yield staged
            return
        make_folder(place.parent)
        with private_folder(place.parent, place.name) as staged:
            yield staged
            (staged / ALIVE).unlink()
            staged.chmod(0o755)
            _rename(staged, place, target)
    except OSError as error:
        raise unwritable(target, error) from error


def _rename(staged: Path, place: Path, target: Path) -> None:
    """Give a folder its name; another process may have been quicker."""
    with locked(place.parent):
        if place.exists():
            raise _taken(target)
        staged.rename(place)


@contextmanager
def _filled(place: Path, target: Path) -> Iterator[Path]:
    """Yield a hidden folder in a folder that is filled from it."""
    journal = place / FILLING
    settle(journal)
    if not place.is_dir():
        raise _taken(target)
    with private_folder(place, FILLING.stem) as staged:
        _require_empty(place, staged, target)
        yield staged
        with locked(place):
            _require_empty(place, staged, target)
            names = sorted(path.name for path in staged_in(staged))
            commit(staged, names, journal_of(journal))


def _require_empty(place: Path, staged: Path, target: Path) -> None:
    """Refuse a folder that holds anything but what a new disk does.

    Raises:
        ArtefactError: It does; or another process is about to fill it.
    """
    others = {entry.name for entry in place.iterdir()} - {staged.name, *NEVER_EMPTY}
    if others:
        raise _taken(target)


def _taken(target: Path) -> ArtefactError:
    return ArtefactError(
        f"{target} is there already",
        "remove it, or choose another folder with --out",
    )


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
