"""Charts of measurements; the one module that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

from hrvit_deploy.errors import MissingDependency
from hrvit_deploy.measure.accuracy.sensitivity import Sensitivity
from hrvit_deploy.measure.latency.bench import BenchReport, BenchResult
from hrvit_deploy.staging import staging

# Okabe and Ito's palette, told apart by every kind of eye.
BASE_COLOUR = "#999999"
COLOUR = "#56B4E9"
GROUP_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#F0E442")
DARK = "#222222"
FAINT = "#666666"
DPI = 160
WIDTH_INCHES = 9.0
ROW_INCHES = 0.55
HEADER_INCHES = 0.65
FOOTER_INCHES = 0.7
THIN_ROW_INCHES = 0.2
# A loss below this is float32's own rounding.
LEAST_LOSS = 1e-8
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
    rows = report.results
    figure, axes = _sheet(ROW_INCHES * len(rows))
    for place, row in enumerate(rows):
        _draw_row(axes, place, row)
    _label(figure, axes, report)
    with staging(path) as folder:
        figure.savefig(folder / path.name)
    return path


def _sheet(inches: float) -> tuple[Any, Any]:
    """Make a figure with room for a title above rows of that height, and its axes."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise MissingDependency(
            "charts are drawn by matplotlib, which is not installed", "pip install matplotlib"
        ) from error
    height = HEADER_INCHES + FOOTER_INCHES + inches
    below_header = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - HEADER_INCHES / height))
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout=below_header)
    return figure, figure.add_subplot()


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
    _head(figure, axes, _title(rows), environment_line(report.environment))


def _head(figure: Any, axes: Any, title: str, line: str) -> None:
    """Write a title and a line below it, and leave out what bars do not need."""
    axes.grid(axis="x", color="#dddddd", linewidth=0.8, zorder=0)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    height = figure.get_figheight()
    figure.text(
        0.012, 1 - 0.1 / height, title, va="top", fontsize=13, weight="bold", color=DARK
    )
    figure.text(0.012, 1 - 0.38 / height, line, va="top", fontsize=8.5, color=FAINT)


def plot_sensitivity(ranking: Sensitivity, path: Path, *, rows: int = 32) -> Path:
    """Draw what the worst products lose: a bar to one minus the cosine of the outputs.

    Args:
        ranking: The worst first.
        path: A ``.png`` (or ``.svg``) file; it appears when it is whole.
        rows: How many products to draw.

    Returns:
        ``path``.

    Raises:
        MissingDependency: matplotlib is not installed.
        ArtefactError: The folder cannot be written to.
    """
    worst = ranking.damages[:rows]
    figure, axes = _sheet(THIN_ROW_INCHES * len(worst))
    groups = list(dict.fromkeys(damage.group for damage in worst))
    for place, damage in enumerate(worst):
        colour = GROUP_COLOURS[groups.index(damage.group) % len(GROUP_COLOURS)]
        lost = max(1 - damage.cosine, LEAST_LOSS)
        axes.barh(place, lost, height=0.7, color=colour, zorder=2)
    axes.set_xscale("log")
    axes.set_yticks(range(len(worst)), [short_name(d.name) for d in worst], fontsize=7.5)
    axes.set_ylim(len(worst) - 0.4, -0.6)
    axes.set_xlabel("1 - cosine of the outputs with the float graph's", fontsize=9)
    for group, colour in zip(groups, GROUP_COLOURS, strict=False):
        axes.barh(0, 0, color=colour, label=str(group))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    line = f"{ranking.images} images, {len(worst)} worst of {len(ranking.damages)} products"
    _head(figure, axes, "What each product loses to eight bits, alone", line)
    with staging(path) as folder:
        figure.savefig(folder / path.name)
    return path


def short_name(name: str) -> str:
    """Return the distinctive end of a node's path."""
    trimmed = name.removeprefix("/network/").replace("backbone/", "")
    if len(trimmed) <= LABEL_CHARACTERS:
        return trimmed
    return f"…{trimmed[1 - LABEL_CHARACTERS :]}"


def _title(rows: tuple[BenchResult, ...]) -> str:
    batches = {row.batch for row in rows if row.batch}
    if len(batches) == 1:
        return f"Latency at batch {batches.pop()}"
    return "Latency per run"


def environment_line(environment: dict[str, Any]) -> str:
    """Describe the machine and the main versions in one line."""
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
