"""The chart of what was measured on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.common.charts import COLOURS, GRID, MEANINGS, strip_axes
from benchmarks.gpu.candidates import DEVICE_MS
from benchmarks.gpu.tables import any_ran, first_named
from hrvit_deploy.report.plots import DARK, DPI, FAINT, environment_line
from hrvit_deploy.staging import staging

Report = Mapping[str, Any]
Row = Mapping[str, Any]
PANEL_INCHES, NAMES_INCHES, ROW_INCHES, EDGES_INCHES = 4.6, 3.2, 0.34, 2.0
# Of the longest bar, so that its label has room.
ROOM = 3.2


def draw(report: Report, path: Path) -> bool:
    """A panel to each case that ran, a bar to each median, the gain beside it.

    Returns:
        Whether anything was measured to be drawn.
    """
    cases = [case for case in report["cases"] if any_ran(case)]
    if not cases:
        return False
    names = list(
        dict.fromkeys(row["name"] for case in cases for row in case["rows"] if row["times"])
    )
    height = EDGES_INCHES + ROW_INCHES * len(names)
    width = NAMES_INCHES + PANEL_INCHES * len(cases)
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(cases), squeeze=False, sharey=True)[0]
    for axes, case in zip(panels, cases, strict=True):
        _draw_case(axes, case, names)
    panels[0].set_yticks(range(len(names)), names, fontsize=9)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    marks = [panels[0].barh(0, 0, color=COLOURS[form]) for form in COLOURS]
    labels = [MEANINGS[form] for form in COLOURS]
    figure.legend(marks, labels, loc="outside lower center", ncols=2, frameon=False)
    title = "HRViT on a GPU: median latency" if report["survey"]["gpu"] else "HRViT on a CPU"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold", color=DARK)
    line = environment_line(report["environment"])
    figure.text(0.99, 0.995, line, ha="right", va="top", fontsize=7.5, color=FAINT)
    with staging(path) as folder:
        figure.savefig(folder / path.name)
    return True


def _draw_case(axes: Any, case: Report, names: Sequence[str]) -> None:
    # Engines and eager lie orders of magnitude apart.
    axes.set_xscale("log")
    medians = []
    for place, name in enumerate(names):
        row = first_named(case["rows"], name)
        if row is None or not row["times"]:
            continue
        median = row["times"][DEVICE_MS]["p50"]
        medians.append(median)
        axes.barh(place, median, 0.7, color=COLOURS[row["form"]], zorder=2)
        gain = "" if row["speedup"] is None else f"  ×{row['speedup']:.2f}"
        axes.annotate(
            f"{median:.3g} ms{gain}",
            (median, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=DARK,
            fontsize=8,
        )
    axes.set_xlim(min(medians) / 2, max(medians) * ROOM)
    size = case["size"].replace("x", " × ")
    axes.set_title(
        f"{case['variant']} {case['task']} {size}, batch {case['batch']}",
        fontsize=10,
        loc="left",
        color=DARK,
    )
    axes.set_xlabel("median, ms a run; × is the gain over the first row", fontsize=8)
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    strip_axes(axes, "top", "right", "left")
