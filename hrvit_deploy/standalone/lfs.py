"""Pointers of Git LFS: a few lines of text where a clone has not fetched the file."""

from __future__ import annotations

from pathlib import Path

START = b"version https://git-lfs"
HINT = "run git lfs pull"


def is_pointer(head: bytes) -> bool:
    """Return whether a file that begins so is a pointer."""
    return head.startswith(START)


def is_pointer_file(path: str | Path) -> bool:
    """Return whether a file is a pointer; False where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return is_pointer(file.read(len(START)))
    except OSError:
        return False
