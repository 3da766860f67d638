"""Charts of what was measured on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from benchmarks.common.charts import COLOURS, GRID, MEANINGS, strip_axes
from benchmarks.common.forms import Form
from benchmarks.cpu.candidates import EAGER, Peer, Runtime
from benchmarks.cpu.targets import CPU, SCALING, rows_of
from hrvit_deploy.report.plots import DARK, DPI, FAINT, environment_line
from hrvit_deploy.staging import staging

# Okabe and Ito's palette, told apart by every kind of eye.
LIMIT, LIMIT_LABEL = "#D55E00", "the machine's limit"
LINES = {
    EAGER.name: (COLOURS[Form.TRAINED], "o"),
    Peer(Form.PLAIN, Runtime.ONNXRUNTIME).name: (COLOURS[Form.PLAIN], "s"),
    Peer(Form.OURS, Runtime.ONNXRUNTIME).name: ("#56B4E9", "^"),
    Peer(Form.OURS, Runtime.OPENVINO).name: ("#0072B2", "D"),
}
Row = dict[str, Any]


def draw_peers(sections: Mapping[str, Any], path: Path) -> None:
    """A panel to each task, a bar to each candidate, a line at the machine's limit."""
    cases = rows_of(sections, CPU)
    if not cases:
        return
    height = 1.9 + 0.42 * len(cases[0]["rows"])
    figure = Figure(figsize=(5.6 * len(cases) + 2.0, height), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(cases), squeeze=False)[0]
    for axes, case in zip(panels, cases, strict=True):
        _draw_bars(axes, case)
        axes.set_yticks([])
    panels[0].set_yticks(
        range(len(cases[0]["rows"])), [row["name"] for row in cases[0]["rows"]], fontsize=10
    )
    marks = [
        panels[0].barh(0, 0, color=colour, label=MEANINGS[form])
        for form, colour in COLOURS.items()
    ]
    line = Line2D([], [], color=LIMIT, linestyle="--", label=LIMIT_LABEL)
    figure.legend(handles=[*marks, line], loc="outside lower center", ncols=5, frameon=False)
    _finish(figure, path, "latency at batch 1", sections[CPU])


def _draw_bars(axes: Any, case: Row) -> None:
    rows, limit = case["rows"], case["limit"]
    for place, row in enumerate(rows):
        if row["median_ms"] is None:
            _write(axes, 0, place, "failed", FAINT)
            continue
        axes.barh(place, row["median_ms"], 0.66, color=COLOURS[row["form"]], zorder=2)
        ratio = "" if row["ratio"] is None else f"  ×{row['ratio']:.2f}"
        _write(axes, row["median_ms"], place, f"{row['median_ms']:.3g} ms{ratio}", DARK)
    longest = max((row["median_ms"] or 0 for row in rows), default=0) or 1
    axes.set_xlim(0, longest * 1.36)  # room for the last label
    axes.set_ylim(len(rows) - 0.4, -0.6)
    title = f"{case['task']} {case['size'].replace('x', ' × ')}"
    if limit:
        axes.axvline(limit["ms"], color=LIMIT, linestyle="--", linewidth=1.3, zorder=1.5)
        title += f" (limit {limit['ms']:.3g} ms)"
    axes.set_title(title, fontsize=11, loc="left", color=DARK)
    axes.set_xlabel("median, ms a run; × is the ratio to eager", fontsize=9)
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    strip_axes(axes, "top", "right", "left")


def _write(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    # On white, for the line at the limit may run through it.
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
    axes.annotate(
        text,
        (x, y),
        (5, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontsize=9,
        bbox=behind,
    )


def draw_scaling(sections: Mapping[str, Any], path: Path) -> None:
    """Latency against pixels, and against batch, with the machine's limit below."""
    rows = rows_of(sections, SCALING)
    if not rows:
        return
    figure = Figure(figsize=(11.5, 5.2), dpi=DPI, layout="constrained")
    larger, more = figure.subplots(1, 2)
    pixels = [row for row in rows if row["axis"] == "pixels"]
    batches = [row for row in rows if row["axis"] == "batch"]
    _draw_lines(larger, pixels, [_pixels(row) for row in pixels], [_short(r) for r in pixels])
    _draw_lines(more, batches, [row["batch"] for row in batches], None)
    larger.set_xlabel("pixels, height × width", fontsize=9)
    more.set_xlabel("images a run", fontsize=9)
    larger.set_title("segment, batch 1", fontsize=11, loc="left", color=DARK)
    size = f" {batches[0]['size'].replace('x', ' × ')}" if batches else ""
    more.set_title(f"classify{size}", fontsize=11, loc="left", color=DARK)
    handles, labels = larger.get_legend_handles_labels()
    if not handles:
        handles, labels = more.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    _finish(figure, path, "latency against pixels and batch", sections[SCALING])


def _pixels(row: Row) -> int:
    height, width = map(int, row["size"].split("x"))
    return height * width


def _short(row: Row) -> str:
    height, width = row["size"].split("x")
    return f"{height}²" if height == width else f"{height}×{width}"


def _draw_lines(axes: Any, rows: list[Row], places: list[int], names: list[str] | None) -> None:
    for name, (colour, marker) in LINES.items():
        found = [
            (place, row["median_ms"])
            for place, case in zip(places, rows, strict=True)
            for row in case["rows"]
            if row["name"] == name and row["median_ms"]
        ]
        if found:
            axes.plot(
                *zip(*found, strict=True), color=colour, marker=marker, label=name, lw=1.8
            )
    limits = [
        (p, row["limit"]["ms"]) for p, row in zip(places, rows, strict=True) if row["limit"]
    ]
    if limits:
        line = {"color": LIMIT, "linestyle": "--", "lw": 1.3, "label": LIMIT_LABEL}
        axes.plot(*zip(*limits, strict=True), **line)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(places, names or [str(place) for place in places])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set_ylabel("median, ms a run", fontsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    strip_axes(axes, "top", "right")


def _finish(figure: Figure, path: Path, what: str, section: dict[str, Any]) -> None:
    """A title above the panels, and in small print where it was measured."""
    threads = f"{section['threads']} thread{'s' if section['threads'] > 1 else ''}"
    title = f"HRViT-{section['variant']} on {threads} of a CPU: {what}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold", color=DARK)
    where = environment_line(section["environment"])
    figure.text(0.99, 0.985, where, ha="right", va="top", fontsize=7.5, color=FAINT)
    with staging(path) as folder:
        figure.savefig(folder / path.name)
