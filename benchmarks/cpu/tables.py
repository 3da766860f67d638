"""What was measured on a CPU, as tables for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.common.forms import Form
from benchmarks.common.tables import ABSENT, FAILED, WIDTH, Table
from benchmarks.cpu.candidates import DEVICE, EAGER, GRAPHS, Peer, Runtime
from benchmarks.cpu.targets import (
    CPU,
    DEPLOYED,
    LAYERS,
    MEDIAN,
    PLAN,
    RTX,
    SECONDS,
    TARGETS,
    judge,
    rows_of,
    summarize_builds,
)

Sections = Mapping[str, Any]
Row = dict[str, Any]
TOOLS = ("torch", "onnxruntime", "openvino")
# Where graphs run on a CPU.
PLACES = (
    (Runtime.ONNXRUNTIME,),
    (Runtime.OPENVINO,),
    (Runtime.OPENVINO, DEVICE),
)


def cpu_table(sections: Sections) -> Table:
    """A row to each candidate, three columns to each task."""
    cases = rows_of(sections, CPU)
    names = list(dict.fromkeys(row["name"] for case in cases for row in case["rows"]))
    header = ["candidate"]
    for case in cases:
        header += [f"{case['task']} {case['size']}, ms", "to eager", "of the limit"]
    rows = []
    for name in names:
        found = [_named(case["rows"], name) for case in cases]
        cells = [cell for row in found for cell in _cpu_cells(row)]
        errors = [row["max_abs_error"] for row in found if row and row["median_ms"]]
        rows.append((name, *cells, f"{max(errors):.0e}" if errors else ABSENT))
    if any(case["limit"] for case in cases):
        rows.append(_limit_row(cases))
    return Table((*header, "largest error"), tuple(rows), _cpu_notes(cases))


def _named(rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in rows if row["name"] == name), None)


def _cpu_cells(row: Row | None) -> tuple[str, str, str]:
    if row is None:
        return ABSENT, ABSENT, ABSENT
    if row["median_ms"] is None:
        return FAILED, ABSENT, ABSENT
    return _ms(row["median_ms"]), _ratio(row["ratio"]), _percent(row["share"])


def _limit_row(cases: Sequence[Row]) -> tuple[str, ...]:
    cells = ["the machine's limit"]
    for case in cases:
        limit, eager = case["limit"], case["rows"][0]["median_ms"]
        ratio = _ratio(limit["ms"] / eager) if limit and eager else ABSENT
        cells += [_ms(limit["ms"]), ratio, "100 %"] if limit else [ABSENT] * 3
    return (*cells, ABSENT)


def _cpu_notes(cases: Sequence[Row]) -> tuple[str, ...]:
    notes = []
    limits = [case["limit"] for case in cases if case["limit"]]
    if limits:
        counts, ours = (
            " and ".join(f"{case['multiply_adds'][form] / 1e9:.2f}" for case in cases)
            for form in (Form.TRAINED, Form.OURS)
        )
        rates = " and ".join(f"{limit['gflops']:.0f}" for limit in limits)
        libraries = " and ".join(dict.fromkeys(limit["library"] for limit in limits))
        notes.append(
            f"The limit is {counts} G multiply-adds of the network as trained at {rates}"
            f" GFLOP/s, the best float32 product of two matrices here ({libraries}). The"
            f" deploy form multiplies {ours} G."
        )
    chosen = {
        row["precision"]
        for case in cases
        for row in case["rows"]
        if row["asked"] == DEVICE and row["precision"]
    }
    if chosen:
        notes.append(f"OpenVINO's default on this processor is {' and '.join(sorted(chosen))}.")
    reasons = {row["name"]: row["error"] for case in cases for row in case["rows"]}
    notes += [f"{name} failed: {reason}" for name, reason in reasons.items() if reason]
    return tuple(notes)


def rtx_table(sections: Sections) -> Table:
    """A row to each graph and one to their ratio, three columns to each task."""
    summary = summarize_builds(rows_of(sections, RTX))
    tasks = list(dict.fromkeys((row["task"], row["size"]) for row in summary))
    header = ["graph"]
    for task, size in tasks:
        header += [f"{task} {size}, layers", "build, s", "plan, MiB"]
    found = {(row["task"], row["size"], row["form"]): row for row in summary}
    rows = [
        (str(form), *(cell for task in tasks for cell in _rtx_cells(found[*task, form])))
        for form in GRAPHS
        if all((*task, form) in found for task in tasks)
    ]
    for form in DEPLOYED if len(rows) == len(GRAPHS) else ():
        ratios = [
            _ratio(_over(found[*task, form][figure], found[*task, Form.PLAIN][figure]))
            for task in tasks
            for figure in (LAYERS, SECONDS, PLAN)
        ]
        rows.append((f"{form} to plain", *ratios))
    reasons = dict.fromkeys(row["error"] for row in summary if row["error"])
    return Table(tuple(header), tuple(rows), tuple(reasons))


def _rtx_cells(row: Row) -> tuple[str, str, str]:
    if row["error"]:
        return FAILED, ABSENT, ABSENT
    return f"{row[LAYERS]:,.0f}", f"{row[SECONDS]:.1f}", f"{row[PLAN] / 2**20:.1f}"


def variants_table(reports: Mapping[str, Sections]) -> Table:
    """What each variant's deploy forms take of what the plain graph takes, in every runtime.

    Args:
        reports: Name of the variant to the sections of its run.
    """
    cases = [(name, case) for name, held in reports.items() for case in rows_of(held, CPU)]
    places = [Peer(Form.PLAIN, *place) for place in PLACES]
    header = ["variant", "task", "eager, ms"]
    header += [f"{form} in {plain.place}" for plain in places for form in DEPLOYED]
    rows = []
    for name, case in cases:
        medians = {row["name"]: row["median_ms"] for row in case["rows"]}
        ratios = [
            _ratio(_over(medians.get(replace(plain, form=form).name), medians.get(plain.name)))
            for plain in places
            for form in DEPLOYED
        ]
        rows.append((name, f"{case['task']} {case['size']}", _ms(medians[EAGER.name]), *ratios))
    return Table(tuple(header), tuple(rows))


def targets_table(sections: Sections) -> Table:
    """Every floor this project sets itself, and what each deploy form reached."""
    words = {
        MEDIAN: "latency",
        LAYERS: "layers after parsing",
        SECONDS: "build seconds",
    }
    judged = judge(sections)
    found = {(row["figure"], row["ours"], row["other"], row["task"]): row for row in judged}
    rows = []
    for target in TARGETS:
        for task, most in target.most.items():
            runs = target.ours if isinstance(target.ours, str) else target.ours.place
            what = f"{words[target.figure]} in {runs}, to {target.other}"
            reached = [
                _reached(found[target.figure, target.row(form), target.other, task])
                for form in DEPLOYED
            ]
            rows.append((what, str(task), f"{most:.2f}", *reached))
    header = ("ratio", "task", "at most", *map(str, DEPLOYED))
    return Table(header, tuple(rows))


def _reached(row: Row) -> str:
    """``0.41``, and a word where that is more than its form may take."""
    return _ratio(row["ratio"]) + (" missed" if row["met"] is False else "")


def where(sections: Sections) -> str:
    """The machine, its software and the day, in a sentence."""
    section = sections[CPU] if CPU in sections else next(iter(sections.values()))
    found = section["environment"]
    versions = [f"{tool} {found['versions'].get(tool, 'absent')}" for tool in TOOLS]
    cpu = " ".join(found["cpu"].split())
    date = found["date"][:10]
    return f"{cpu}, {section['threads']} threads; {', '.join(versions)}; {date}."


def print_tables(sections: Sections) -> None:
    from rich.console import Console
    from rich.table import Table as Shown

    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    for title, table in (
        ("CPU", cpu_table(sections)),
        ("TensorRT-RTX", rtx_table(sections)),
        ("Targets", targets_table(sections)),
    ):
        if not table.rows:
            continue
        shown = Shown(title=title, title_justify="left")
        for index, name in enumerate(table.header):
            shown.add_column(name, justify="right" if index else "left", no_wrap=not index)
        for cells in table.rows:
            shown.add_row(*cells)
        console.print(shown)
        for note in table.notes:
            console.print(note, markup=False)


def _over(ours: float | None, other: float | None) -> float | None:
    return ours / other if ours is not None and other else None


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratio(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.0%}".replace("%", " %")
