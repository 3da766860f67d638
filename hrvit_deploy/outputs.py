"""Folders that are written to: found unfit before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.progress import Progress

HINT = "choose a folder you may write to with --out"


def make_folder(folder: Path) -> None:
    """Make a folder with those above it; of a link that leads nowhere, the one it names.

    Raises:
        OSError: It cannot be made.
    """
    Path(os.path.realpath(folder)).mkdir(parents=True, exist_ok=True)


def require_writable(*folders: Path, hint: str = HINT, text: bool = False) -> None:
    """Refuse folders that nothing can be written to, and leave nothing there.

    Args:
        folders: They need not exist.
        hint: What else to do.
        text: Whether names must be UTF-8, as those of graphs must for the tools that write
            them.

    Raises:
        ArtefactError: One of them can neither be made nor be written to.
    """
    for folder in folders:
        if why := _hindrance(folder):
            raise ArtefactError(f"cannot write to {folder}: {why}", hint)
        if text and not _is_text(os.path.realpath(folder)):
            raise ArtefactError(
                f"cannot write a graph to {folder}: its name is not UTF-8", "rename the folder"
            )


def _hindrance(folder: Path) -> str:
    """Return what keeps a folder from being written to; empty for nothing."""
    try:
        place = Path(os.path.realpath(folder))
        if place.is_symlink():
            return "its links lead in a circle"
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            return f"{place} is no folder"
        return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} is read-only"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def workplace(usual: Path, out: Path, progress: Progress) -> Path:
    """Return where files that lie between two steps go: as usual, or else below the output.

    Args:
        usual: Where they go if that can be written to, such as ``calib/``.
        out: Where the result goes.
        progress: Shown where it is another place.
    """
    if not _hindrance(usual):
        return usual
    progress.note(f"{usual}/ cannot be written to: what goes there goes to {out / usual.name}/")
    return out / usual.name
