"""Names that a file brings along, as they may be shown."""

from __future__ import annotations

from collections.abc import Sequence

# Characters of a name at most, and names of a list.
LONGEST = 80
SHOWN = 3


def printable(name: str) -> str:
    """Return a name in one line that moves no cursor, cut where it is long."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def first(names: Sequence[str], shown: int = SHOWN) -> str:
    """Return ``a, b, c and 4 more``."""
    rest = len(names) - shown
    return ", ".join(map(printable, names[:shown])) + (f" and {rest} more" if rest > 0 else "")
