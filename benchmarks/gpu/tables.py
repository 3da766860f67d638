"""What was measured on a GPU, as tables for a terminal and for Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.tables import ABSENT, FAILED, WIDTH, Table
from benchmarks.gpu.candidates import DEVICE_MS, HOST_COPIES_MS

Report = Mapping[str, Any]
Row = Mapping[str, Any]
TOOLS = ("torch", "triton", "onnxruntime-gpu", "onnxruntime")


def cases_table(report: Report, *, batch: int = 1, variant: str = "b1") -> Table:
    """A row to each candidate that ran, three columns to each case of that batch.

    Args:
        report: The JSON.
        batch: Images a run.
        variant: Its name.
    """
    cases = [
        case
        for case in report["cases"]
        if (case["variant"], case["batch"]) == (variant, batch) and any_ran(case)
    ]
    header = ["candidate"]
    for case in cases:
        header += [f"{case['task']} {case['size']}, ms", "gain", "with copies, ms"]
    names = dict.fromkeys(row["name"] for case in cases for row in case["rows"])
    rows = []
    for name in names:
        found = [first_named(case["rows"], name) for case in cases]
        if any(row and row["times"] for row in found):
            cells = [cell for row in found for cell in _cells(row)]
            rows.append((name, *cells, *_parity(found)))
    columns = (*header, "largest error", "agreement")
    return Table(columns, tuple(rows), (_note(report["plan"]["entries"][0]),) if rows else ())


def any_ran(case: Report) -> bool:
    return any(row["times"] for row in case["rows"])


def first_named(rows: Sequence[Row], name: str) -> Row | None:
    """A candidate's row; of the anchor, which has one in each timing group, the first."""
    return next((row for row in rows if row["name"] == name), None)


def _cells(row: Row | None) -> tuple[str, str, str]:
    if row is None:
        return ABSENT, ABSENT, ABSENT
    if not row["times"]:
        return FAILED, ABSENT, ABSENT
    gain = ABSENT if row["speedup"] is None else f"{row['speedup']:.2f}"
    times = row["times"]
    return _ms(times[DEVICE_MS]["p50"]), gain, _ms(times[HOST_COPIES_MS]["p50"])


def _parity(rows: Sequence[Row | None]) -> tuple[str, str]:
    """The worst over the cases."""
    timed = [row for row in rows if row and row["times"]]
    errors = [row["relative_error"] for row in timed]
    agreements = [row["agreement"] for row in timed if row["agreement"] is not None]
    error = ABSENT if None in errors or not errors else f"{max(errors):.0e}"
    return error, f"{min(agreements):.4f}" if agreements else ABSENT


def _note(anchor: Mapping[str, Any]) -> str:
    held = f"{anchor['runtime']} {anchor['precision']}"
    return (
        "Medians of one run by the device's clock, from an input on the device to an answer"
        f" there; gain is how many times faster than {held} in the same group; with copies is"
        " by the host's clock, from and to pinned memory. The largest error is in deviations of"
        " eager fp32's answer; it and agreement are the worst of the cases."
    )


def absent_table(report: Report) -> Table:
    """Every reason why candidates did not run, and which those are."""
    reasons: dict[str, dict[str, None]] = {}
    for case in report["cases"]:
        for row in case["rows"]:
            if row["error"]:
                reasons.setdefault(row["error"], {})[row["name"]] = None
    rows = tuple((why, "; ".join(names)) for why, names in reasons.items())
    return Table(("did not run, because", "candidates"), rows)


def targets_table(report: Report) -> Table:
    """Every target of which a row was measured, and what was reached."""
    rows = [
        (
            f"{target['ours']}, to {target['other']}",
            f"{target['least']:.1f}",
            _times(target["ratio"]) + ("" if target["met"] is not False else " missed"),
            _times(target["ratio_with_copies"]),
        )
        for target in report["targets"]
        if target["ratio"] is not None
    ]
    return Table(("times faster", "at least", "reached", "with copies"), tuple(rows))


def questions_table(report: Report) -> Table:
    """What TensorRT-RTX said to this GPU."""
    rows = [
        (question["question"], _answer(question), _words(question))
        for question in report["questions"]
    ]
    return Table(("question", "answer", "in the library's words"), tuple(rows))


def _answer(question: Report) -> str:
    where = f"compute capability {question['capability']}"
    if question["ran"]:
        error = question["relative_error"]
        return f"yes, on {where}" + (f", {error:.0e} off" if error is not None else "")
    step = next(
        (name for name in ("built", "deserialised", "ran") if question.get(name) is False), ""
    )
    return f"no, on {where}: not {step}" if step else f"not found out on {where}"


def _words(question: Report) -> str:
    words = [*dict.fromkeys(question.get("words", ()))] or [question["error"]]
    return " ".join(filter(None, words)).replace("|", "/") or ABSENT


def where(report: Report) -> str:
    """The GPU, its software and the day, in a sentence."""
    found, environment = report["survey"], report["environment"]
    gpu, smi = found["gpu"], environment["gpu"]
    name = gpu["name"] if gpu else " ".join(environment["cpu"].split())
    driver = f", driver {smi['driver']}" if smi else ""
    known = {**environment["versions"], **found.get("versions", {})}
    versions = [f"{tool} {known[tool]}" for tool in TOOLS if tool in known]
    cuda = [f"CUDA {found['cuda']}"] if found.get("cuda") else []
    engines = dict.fromkeys(
        f"{row['runtime']} {row['settings']['version']}"
        for case in report["cases"]
        for row in case["rows"]
        if row["runtime"].startswith("TensorRT") and "version" in row["settings"]
    )
    parts = ", ".join([*cuda, *versions, *engines])
    return f"{name}{driver}; {parts}; {environment['date'][:10]}."


def sections(report: Report) -> Iterator[tuple[str, Table]]:
    """Every table that has a row, with its title."""
    variants = dict.fromkeys(case["variant"] for case in report["cases"])
    for variant in variants:
        for batch in sorted({case["batch"] for case in report["cases"]}):
            title = f"HRViT-{variant}, batch {batch}"
            yield title, cases_table(report, batch=batch, variant=variant)
    yield "Targets", targets_table(report)
    yield "Questions", questions_table(report)
    yield "Absent", absent_table(report)


def performance(report: Report) -> str:
    """For the README: batch 1, the targets, and where that was measured."""
    tables = (cases_table(report), targets_table(report))
    return "\n\n".join((*(t.markdown() for t in tables if t.rows), where(report)))


def everything(report: Report) -> str:
    """For docs/explanation/performance-gpu.md: every table under its title."""
    shown = [(title, table) for title, table in sections(report) if table.rows]
    parts = [f"### {title}\n\n{table.markdown()}" for title, table in shown]
    return "\n\n".join((*parts, where(report)))


def print_report(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table as Shown

    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    for title, table in sections(report):
        if not table.rows:
            continue
        shown = Shown(title=title, title_justify="left")
        for index, name in enumerate(table.header):
            numbers = index and title not in ("Questions", "Absent")
            shown.add_column(name, justify="right" if numbers else "left")
        for cells in table.rows:
            shown.add_row(*cells)
        console.print(shown, markup=False)
    console.print(where(report), markup=False)


def _times(ratio: float | None) -> str:
    return ABSENT if ratio is None else f"{ratio:.2f}"


def _ms(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


if __name__ == "__main__":
    print(performance(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
