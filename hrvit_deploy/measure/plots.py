"""Charts of measurements; the one module that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

from hrvit_deploy.artefact import staging
from hrvit_deploy.errors import MissingDependency
from hrvit_deploy.measure.bench import BenchReport, BenchResult

# Okabe and Ito's palette, told apart by every kind of eye.
BASE_COLOUR = "#999999"
COLOUR = "#56B4E9"
DARK = "#222222"
FAINT = "#666666"
DPI = 160
WIDTH_INCHES = 9.0
ROW_INCHES = 0.55
HEADER_INCHES = 0.65
FOOTER_INCHES = 0.7
LABEL_CHARACTERS = 60
NAME_CHARACTERS = 30
TITLE_TOOLS = ("torch", "onnxruntime", "onnxruntime-gpu", "tensorrt")


def plot_bench(report: BenchReport, path: Path) -> Path:
    """Draw a benchmark: a bar to each median, with marks at p90 and p99.

    Args:
        report: Its rows are drawn in order; the first is what the others are held against.
        path: A ``.png`` (or ``.svg``) file; it appears when it is whole.

    Returns:
        ``path``.

    Raises:
        MissingDependency: matplotlib is not installed.
        ArtefactError: The folder cannot be written to.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise MissingDependency(
            "charts are drawn by matplotlib, which is not installed", "pip install matplotlib"
        ) from error
    rows = report.results
    height = HEADER_INCHES + FOOTER_INCHES + ROW_INCHES * len(rows)
    below_header = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - HEADER_INCHES / height))
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout=below_header)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        _draw_row(axes, place, row)
    _label(figure, axes, report)
    with staging(path) as folder:
        figure.savefig(folder / path.name)
    return path


def _draw_row(axes: Any, place: int, row: BenchResult) -> None:
    if row.p50_ms is None or row.p90_ms is None or row.p99_ms is None:
        text = f"failed: {row.error}"
        shown = text if len(text) <= LABEL_CHARACTERS else f"{text[: LABEL_CHARACTERS - 1]}…"
        axes.annotate(
            shown,
            (0, place),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=FAINT,
            style="italic",
            backgroundcolor="white",
        )
        return
    colour = BASE_COLOUR if place == 0 else COLOUR
    axes.barh(place, row.p50_ms, height=0.62, color=colour, zorder=2)
    axes.plot([row.p50_ms, row.p99_ms], [place, place], color=DARK, linewidth=1, zorder=3)
    axes.plot([row.p90_ms], [place], marker="|", markersize=7, color=DARK, zorder=3)
    axes.plot([row.p99_ms], [place], marker="|", markersize=11, color=DARK, zorder=3)
    ratio = "" if row.ratio is None else f"  ×{row.ratio:.2f}"
    axes.annotate(
        f"{row.p50_ms:.3g} ms{ratio}",
        (row.p99_ms, place),
        (8, 0),
        textcoords="offset points",
        va="center",
        color=DARK,
        weight="bold",
    )


def _label(figure: Any, axes: Any, report: BenchReport) -> None:
    rows = report.results
    names = ["\n".join(wrap(row.name, NAME_CHARACTERS)) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    longest = max((row.p99_ms or 0 for row in rows), default=0) or 1
    axes.set_xlim(0, longest * 1.28)  # room for the last label
    axes.set_xlabel(
        "ms per run: bar to the median, marks at p90 and p99; × is the ratio to"
        f" {rows[0].name}",
        fontsize=9,
    )
    axes.grid(axis="x", color="#dddddd", linewidth=0.8, zorder=0)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    height = figure.get_figheight()
    figure.text(
        0.012, 1 - 0.1 / height, _title(rows), va="top", fontsize=13, weight="bold", color=DARK
    )
    figure.text(
        0.012,
        1 - 0.38 / height,
        environment_line(report.environment),
        va="top",
        fontsize=8.5,
        color=FAINT,
    )


def _title(rows: tuple[BenchResult, ...]) -> str:
    batches = {row.batch for row in rows if row.batch}
    if len(batches) == 1:
        return f"Latency at batch {batches.pop()}"
    return "Latency per run"


def environment_line(environment: dict[str, Any]) -> str:
    """The machine and the main versions in one line."""
    gpu = environment.get("gpu")
    cores = environment.get("usable_cores")
    parts = [
        f"{gpu['name']}, driver {gpu['driver']}" if gpu else "",
        " ".join(str(environment.get("cpu", "")).split()),
        f"{cores} {'core' if cores == 1 else 'cores'}" if cores else "",
    ]
    versions = environment.get("versions", {})
    parts.extend(
        f"{tool} {versions[tool].split('+')[0]}" for tool in TITLE_TOOLS if tool in versions
    )
    parts.append(str(environment.get("date", ""))[:10])
    return " · ".join(filter(None, parts))
