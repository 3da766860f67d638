"""The JSON of a run: whole on disk after every group, and gone on from after a stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.common.cases import Case
from benchmarks.common.reports import write_report
from benchmarks.gpu.rounds import Pace, Row, TimingGroup
from benchmarks.gpu.targets import judge
from hrvit_deploy.artefact import plain

SCHEMA = 1
HERE = Path(__file__).parents[1]
PACKAGE = HERE.parent / "hrvit_deploy"
# Of the environment, what a figure depends on.
LASTING = ("cpu", "python", "versions", "gpu")
# Rows of this timing group were never opened: what stood against them may be gone by now.
NEVER_OPENED = 0
Report = dict[str, Any]


class Results:
    """What was measured so far.

    Attributes:
        report: As it lies on disk.
    """

    def __init__(self, path: Path, about: Report, mark: str, *, retry: bool = False) -> None:
        """Begin, or go on with what a stopped run of the same left.

        Args:
            path: The JSON.
            about: Machine and plan.
            mark: From :func:`fingerprint`; rows of another are not kept.
            retry: Whether those that failed are tried again.
        """
        self.path = path
        held: Report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        same = held.get("fingerprint") == mark and held.get("unfinished", False)
        self.report: Report = {
            "schema": SCHEMA,
            "unfinished": True,
            "fingerprint": mark,
            **about,
            "questions": held["questions"] if same else [],
            "cases": held["cases"] if same else [],
        }
        for case in self.report["cases"]:
            case["rows"] = [row for row in case["rows"] if _kept(row, retry=retry)]

    def case(self, case: Case) -> Report:
        """Where rows of a case go."""
        key = {"variant": case.variant.name, **case.key}
        for held in self.report["cases"]:
            if key.items() <= held.items():
                found: Report = held
                return found
        fresh: Report = {**key, "groups": [], "late": [], "rows": []}
        self.report["cases"].append(fresh)
        return fresh

    def done(self, case: Case) -> set[str]:
        """Names of candidates that have a row."""
        return {row["name"] for row in self.case(case)["rows"]}

    def add_heat(self, case: Case, group: TimingGroup, about: Report) -> None:
        """A timing group's rows; written at once."""
        held = self.case(case)
        held["rows"] += plain(group.rows)
        held["late"] = sorted({*held["late"], *group.late} - self.done(case))
        held["groups"].append(about)
        self.write()

    def add_rows(self, case: Case, rows: Iterable[Row]) -> None:
        """Rows of what was never opened; written with the next timing group."""
        self.case(case)["rows"] += plain(list(rows))

    def next_heat(self, case: Case) -> int:
        """Its number, from 1."""
        return max((row["group"] for row in self.case(case)["rows"]), default=NEVER_OPENED) + 1

    def finish(self) -> None:
        """Everything that was asked for has a row."""
        self.report["unfinished"] = False
        self.write()

    def write(self) -> None:
        self.report["targets"] = judge(self.report["cases"])
        write_report(self.path, self.report)


def _kept(row: Report, *, retry: bool) -> bool:
    if not row["error"]:
        return True
    return row["group"] != NEVER_OPENED and not retry


def fingerprint(pace: Pace, device: str, environment: Report, found: Report) -> str:
    """What rows of two runs must share to stand in one table."""
    digest = hashlib.sha256()
    lasting = {name: environment.get(name) for name in LASTING}
    gpu = {name: value for name, value in (found["gpu"] or {}).items() if name != "free_mib"}
    known = [pace.rounds, pace.turn_s, device, lasting, gpu, found.get("versions")]
    digest.update(json.dumps(known, sort_keys=True).encode())
    sources = (*PACKAGE.rglob("*.py"), *HERE.glob("common/*.py"), *HERE.glob("gpu/**/*.[cp]*"))
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.hexdigest()
