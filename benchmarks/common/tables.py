"""Tables of a benchmark, for a terminal and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass

ABSENT = "-"
FAILED = "failed"
# Characters that the widest table needs.
WIDTH = 110


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is words, the others are numbers.

    Attributes:
        notes: Sentences that belong below it.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        lines = [self.header, ("---", *["---:"] * (len(self.header) - 1)), *self.rows]
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n\n".join((text, *self.notes))
