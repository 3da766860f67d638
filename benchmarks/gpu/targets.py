"""Floors that this project sets itself on a GPU, at batch 1 and 224 x 224."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.common.forms import Form
from benchmarks.gpu.candidates import ANCHOR, FP8, FP16, HOST_COPIES_MS, INT8, Entry, Runtime

Row = Mapping[str, Any]
# The case that targets are of.
KEY = {"variant": "b1", "task": "classify", "size": "224x224", "batch": 1}
BUILDERS = (Runtime.TENSORRT, Runtime.RTX, Runtime.TRT8)


@dataclass(frozen=True)
class Target:
    """How many times faster one row must be than another.

    Attributes:
        ours: The fastest of these.
        other: What it is held against.
        least: The other's median over ours, at least.
    """

    ours: tuple[Entry, ...]
    other: Entry
    least: float


def targets() -> tuple[Target, ...]:
    """Those of every builder; the package supports the first two."""
    found = []
    for runtime in BUILDERS:
        ours = Entry(Form.FITTED, runtime, FP16)
        narrow = tuple(replace(ours, precision=precision) for precision in (INT8, FP8))
        found += [
            Target((ours,), ANCHOR, 5.0),
            Target((ours,), Entry(Form.TRAINED, Runtime.COMPILE, FP16), 1.5),
            Target((ours,), replace(ours, form=Form.PLAIN), 1.2),
            Target(narrow, ours, 1.0),
        ]
    return tuple(found)


def judge(cases: Sequence[Row]) -> list[dict[str, Any]]:
    """Every target beside what was measured; None where it was not.

    A ratio is that of the two rows' ratios to the anchor of their own groups: in one group,
    of their medians. It is judged by the device's clock without copies; the host's with
    copies stands beside it.
    """
    rows = {}
    for case in cases:
        if KEY.items() <= case.items():
            rows = {row["name"]: row for row in case["rows"] if row["speedup"] is not None}
    return [_judged(target, rows) for target in targets()]


def _judged(target: Target, rows: Mapping[str, Row]) -> dict[str, Any]:
    found = [rows[entry.name] for entry in target.ours if entry.name in rows]
    ours = max(found, key=lambda row: float(row["speedup"]), default=None)
    other = rows.get(target.other.name)
    ratio = with_copies = None
    if ours is not None and other is not None:
        ratio = ours["speedup"] / other["speedup"]
        if ours["group"] == other["group"]:
            with_copies = (
                other["times"][HOST_COPIES_MS]["p50"] / ours["times"][HOST_COPIES_MS]["p50"]
            )
    return {
        "ours": ours["name"] if ours else " or ".join(entry.name for entry in target.ours),
        "other": target.other.name,
        "least": target.least,
        "ratio": ratio,
        "ratio_with_copies": with_copies,
        "same_group": None if ratio is None else ours["group"] == other["group"],  # type: ignore[index]
        "met": None if ratio is None else ratio >= target.least,
    }
