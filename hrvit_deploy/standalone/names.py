"""Name the files of several images, and show names as they are."""

from __future__ import annotations

# What moves a cursor, ends a line, or turns the direction of text.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


def printable(text: str) -> str:
    """Return text that changes nothing on a terminal: controls in it are escaped."""
    return text.translate(CONTROLS)


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
