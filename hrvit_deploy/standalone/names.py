"""Name the files of several images."""

from __future__ import annotations


def unused_name(name: str, used: set[str]) -> str:
    """Return a name that is not in use, with a number if it must, and enter it as used.

    Names that differ in upper and lower case alone count as one: some disks keep one file
    for both.
    """
    chosen, count = name, 1
    while chosen.casefold() in used:
        count += 1
        chosen = f"{name}-{count}"
    used.add(chosen.casefold())
    return chosen
