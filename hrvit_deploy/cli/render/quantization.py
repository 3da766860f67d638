"""Quantized graphs and what each product costs, as people read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from hrvit_deploy.artefact import (
    Artefact,
    plain,
)
from hrvit_deploy.cli.console import print_json, written
from hrvit_deploy.cli.render import tables
from hrvit_deploy.encoding import encode_json
from hrvit_deploy.staging import staging
from hrvit_deploy.verdict import verdict_of

if TYPE_CHECKING:
    from hrvit_deploy.measure.accuracy.sensitivity import Damage, Sensitivity

# How many of the worst are told on the screen; the file holds them all.
TOLD = 12


def print_quantized(made: Artefact, *, as_json: bool) -> None:
    """Print what a new quantized graph is, and whether its quality suffices."""
    if as_json:
        print_json(
            {
                "artefact": made.path,
                "precision": made.manifest.precision,
                "quantization": plain(made.manifest.quantization),
                "verdict": plain(verdict_of(made.manifest)),
                "gate": plain(made.manifest.gate),
                "parity": plain(made.manifest.parity),
            }
        )
        return
    tables.printer().print(tables.facts(tables.describe_artefact(made)))


def print_sensitivity(
    ranking: Sensitivity, path: Path, about: dict[str, Any], *, as_json: bool
) -> None:
    """Print a table of the worst products; write all of them to a file, with a chart beside it.

    Args:
        ranking: The worst first.
        path: Of the file.
        about: What was measured, for the file.
        as_json: All of it on standard output instead.
    """
    from hrvit_deploy.report.plots import plot_sensitivity

    charts: list[Path] = []

    def write() -> None:
        with staging(path) as folder:
            encoded = msgspec.json.format(encode_json(plain(about) | plain(ranking)), indent=2)
            (folder / path.name).write_bytes(encoded + b"\n")
        charts.append(plot_sensitivity(ranking, path.with_suffix(".png")))

    saved = written(write)
    if as_json:
        places = {"artefact": path, "chart": charts[0]} if saved else {}
        print_json({**places, **plain(about), **plain(ranking)})
    else:
        _print_ranking(ranking, {"all": path, "chart": charts[0]} if saved else {})
    if not saved:
        raise typer.Exit(1)


def _print_ranking(ranking: Sensitivity, places: dict[str, Path]) -> None:
    """Print the worst products, and where all of them and their chart are."""
    headings = ["product", "kind", "1 - cosine", "agreement"]
    if ranking.metric:
        headings.append(f"{ranking.metric} ({ranking.reference:.4f} in float)")
    rows = [_row(damage) for damage in ranking.damages[:TOLD]]
    printer = tables.printer()
    printer.print(tables.columns(headings, rows))
    rest = len(ranking.damages) - len(rows)
    where = {name: str(path) for name, path in places.items()}
    if "all" in where:
        where["all"] += f" ({rest} more)"
    printer.print(
        tables.facts(
            {
                **where,
                "measured": f"on {ranking.images} images, one product quantized at a time",
            }
        )
    )


def _row(damage: Damage) -> list[str]:
    from hrvit_deploy.report.plots import short_name

    row = [
        short_name(damage.name),
        str(damage.group),
        f"{1 - damage.cosine:.1e}",
        f"{damage.agreement:.5f}",
    ]
    if damage.score is not None:
        row.append(f"{damage.score:.4f}")
    return row
