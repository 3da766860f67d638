"""What each product was measured to cost, kept in a file so that a broken-off ranking goes on.

A line a measurement, written as it is made: what a killed process leaves is all but the last
one. The first line says what they were measured on; lines of anything else are not taken up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix
from hrvit_deploy.measure.parity.errors import Agreement, Errors
from hrvit_deploy.progress import Progress
from hrvit_deploy.staging import staging, unwritable

# Product that stands for the float graph itself.
FLOAT = ""
Cells = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Measurement:
    """One product quantized, on one image.

    Attributes:
        product: Name of its node; empty for none, the float graph.
        image: Its place among the images.
        errors: Sums of :class:`Errors`, in the order of its ``sums``.
        agreement: Row, column and count of what is not 0 in :class:`Agreement`.
        confusion: The same of the labels, row -1 apart for what was not decided.
    """

    product: str
    image: int
    errors: tuple[float, ...]
    agreement: Cells
    confusion: Cells


def measurement_of(
    product: str, image: int, errors: Errors, agreement: Agreement, confusion: ConfusionMatrix
) -> Measurement:
    """Return what was gathered of one product on one image."""
    undecided = [(-1, row, count) for _, row, count in cells(confusion.undecided[None])]
    return Measurement(
        product,
        image,
        errors.sums,
        cells(agreement.counts),
        [*cells(confusion.counts), *undecided],
    )


def cells(counts: np.ndarray) -> Cells:
    """Return row, column and count of what is not 0."""
    rows, columns = np.nonzero(counts)
    found = zip(rows.tolist(), columns.tolist(), counts[rows, columns].tolist(), strict=True)
    return list(found)


def key_of(**about: Any) -> str:
    """Hash what measurements belong to, to hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(about, enc_hook=str)).hexdigest()


class RankingFile:
    """A file of measurements, or none."""

    def __init__(self, path: Path | None, key: str = "") -> None:
        """Keep in ``path``, or nowhere; measurements with another key are not taken up."""
        self.path, self.key = path, key

    def load(self, progress: Progress) -> dict[tuple[str, int], Measurement]:
        """Load what was measured before, by product and image; and drop a broken last line."""
        if self.path is None or not self.path.is_file():
            return {}
        known: dict[tuple[str, int], Measurement] = {}
        try:
            head, *lines = self.path.read_bytes().splitlines(keepends=True)
            key = msgspec.json.decode(head, type=dict[str, str]).get("key")
        except (OSError, ValueError, msgspec.MsgspecError):
            key, lines = None, []
        if key != self.key:
            progress.note(f"{self.path} is of another graph, images or options: starting anew")
            return {}
        for line in lines:
            try:
                if not line.endswith(b"\n"):
                    break
                measured = msgspec.json.decode(line, type=Measurement)
            except msgspec.MsgspecError:
                break
            known[measured.product, measured.image] = measured
        progress.note(f"going on after {len(known)} measurements, from {self.path}")
        return known

    def begin(self, known: dict[tuple[str, int], Measurement]) -> None:
        """Write what is known, whole or not at all, for :meth:`add` to go on from.

        Raises:
            ArtefactError: It cannot be written.
        """
        if self.path is None:
            return
        head = msgspec.json.encode({"key": self.key})
        lines = (head, *map(msgspec.json.encode, known.values()))
        with staging(self.path, lambda: True) as folder:
            (folder / self.path.name).write_bytes(b"".join(line + b"\n" for line in lines))

    def add(self, measured: Measurement) -> None:
        """Write one measurement at the end.

        Raises:
            ArtefactError: It cannot be written.
        """
        if self.path is None:
            return
        try:
            with self.path.open("ab") as file:
                file.write(msgspec.json.encode(measured) + b"\n")
        except OSError as error:
            raise unwritable(self.path, error) from error

    def remove(self) -> None:
        """Remove the file once nothing is left to measure."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
