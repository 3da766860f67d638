"""``compare``: graphs of one network side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from hrvit_deploy.artefact import (
    open_artefact,
    plain,
)
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, now, print_json, written
from hrvit_deploy.cli.parsing import check_labels
from hrvit_deploy.cli.render import tables as show
from hrvit_deploy.encoding import encode_json
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.pipeline.compare import (
    Comparison,
    Row,
    compare_artefacts,
    family,
    labelled_source,
)
from hrvit_deploy.pipeline.stages import EXPORT_DIR
from hrvit_deploy.runners.spec import InferencePrecision, Provider, RunOptions
from hrvit_deploy.staging import staging

NAMES = {"miou": "mIoU", "top1": "top-1", "": ""}


def compare(
    artefacts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Graphs of one network, size and batch.",
            show_default="the newest in export/, and all there that go with it",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of labelled images, for mIoU or top-1.",
            show_default="no accuracy",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Labelled images at most.", show_default="all"),
    ] = None,
    labels: arg.LabelsDrawn = None,
    labels_from: arg.LabelsFrom = None,
    images: arg.ImageFolder = None,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns that each takes.")] = 5,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs per turn.")] = 5,
    accept_parity: Annotated[
        bool,
        typer.Option(
            "--accept-parity",
            help="End well though a graph fails its comparison or its gate.",
            show_default="exit 1",
        ),
    ] = False,
    out: arg.OutDir = Path("bench"),
    as_json: arg.AsJson = False,
) -> None:
    """Compare precisions: size, accuracy, agreement with eager, and speed."""
    from hrvit_deploy.measure.environment import describe_environment
    from hrvit_deploy.measure.latency.bench import BenchOptions

    require_writable(out)
    check_labels(data, labels, labels_from)
    with Terminal() as terminal:
        graphs = [open_artefact(path) for path in artefacts or ()]
        graphs = graphs or family(EXPORT_DIR)
        source = ImageSource(images)
        if images is None and data is not None:
            source = labelled_source(graphs[0], data)
        comparison = compare_artefacts(
            graphs,
            data,
            source,
            BenchOptions(rounds=rounds, runs=runs),
            terminal,
            samples=samples,
            labels=labels,
            labels_from=labels_from,
            run=RunOptions(provider=provider, inference_precision=inference_precision),
            environment=describe_environment(now()),
        )
    path = out / f"{graphs[0].path.stem}-compare.json"
    saved = written(lambda: _save(comparison, path))
    if as_json:
        print_json({"artefact": path if saved else None, **plain(comparison)})
    else:
        _print(comparison, path if saved else None)
    missed = any(row.missed and not (row.accepted or accept_parity) for row in comparison.rows)
    if not saved or missed or any(row.error for row in comparison.rows):
        raise typer.Exit(1)


def _save(comparison: Comparison, path: Path) -> None:
    with staging(path) as folder:
        encoded = msgspec.json.format(encode_json(plain(comparison)), indent=2)
        (folder / path.name).write_bytes(encoded + b"\n")


def _print(comparison: Comparison, path: Path | None) -> None:
    printer = show.printer()
    printer.print(_table(comparison))
    facts = {} if path is None else {"written": str(path)}
    if comparison.metric:
        facts = {"judged": f"{comparison.images} images of {comparison.data}"} | facts
    facts |= {
        row.name: f"could not be timed: {row.error}" for row in comparison.rows if row.error
    }
    facts |= {
        row.name: f"{'accepted in spite of' if row.accepted else 'FAILED'}: {row.missed}"
        for row in comparison.rows
        if row.missed
    }
    printer.print(show.facts(facts))


def _table(comparison: Comparison) -> object:
    headings = ["", "precision", "size", "agreement", "p50", "ratio"]
    if comparison.metric:
        headings.insert(3, NAMES[comparison.metric])
    rows = [
        _row(row, name, judged=bool(comparison.metric))
        for row, name in zip(
            comparison.rows, _short([row.name for row in comparison.rows]), strict=True
        )
    ]
    return show.columns(headings, rows, numbers=True)


def _short(names: list[str]) -> list[str]:
    """Shorten each name by what it has in common with the one it is made from."""
    shown = []
    for index, name in enumerate(names):
        bases = (base for base in names[:index] if name.startswith(f"{base}-"))
        base = next(bases, "")
        shown.append(f"…{name[len(base) :]}" if base else name)
    return shown


def _row(row: Row, name: str, *, judged: bool) -> list[str]:
    rest = "" if row.rest is row.precision else f" + {row.rest}"
    cells = [
        name,
        f"{row.precision}{rest}",
        "" if row.size_mib is None else f"{row.size_mib:.1f} MiB",
        "" if row.agreement is None else f"{row.agreement:.2%}",
        "" if row.p50_ms is None else f"{row.p50_ms:.1f} ms",
        "" if row.ratio is None else f"{row.ratio:.2f}",
    ]
    if judged:
        cells.insert(3, "" if row.score is None else f"{row.score:.4f}")
    return cells
