"""Graphs of one network side by side: size, accuracy, agreement and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import (
    Artefact,
    Kind,
    Manifest,
    newest,
    open_artefact,
    read_sidecar,
    sidecar_of,
)
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline import Pictures
from hrvit_deploy.progress import Progress

if TYPE_CHECKING:
    from hrvit_deploy.measure.bench import BenchOptions, BenchReport


@dataclass(frozen=True)
class Row:
    """One contender.

    Attributes:
        name: Of its file, or ``eager``.
        precision: What its products run in.
        rest: What everything else runs in.
        size_mib: Of its file and the weights beside it; None for eager PyTorch.
        score: mIoU or top-1 where there are labels.
        agreement: Share of decisions that are eager's on the pictures.
        p50_ms: Median latency; None where it could not be timed.
        ratio: Of that to the first row's.
        error: Why it could not be timed.
    """

    name: str
    precision: Precision
    rest: Precision
    size_mib: float | None
    score: float | None
    agreement: float | None
    p50_ms: float | None
    ratio: float | None
    error: str = ""


@dataclass(frozen=True)
class Comparison:
    """All of them, eager PyTorch first.

    Attributes:
        metric: ``miou`` or ``top1``; empty without labels.
        images: Labelled images judged.
        data: Where those are.
    """

    rows: tuple[Row, ...]
    environment: dict[str, Any]
    metric: str = ""
    images: int = 0
    data: str = ""


def family(folder: Path) -> list[Artefact]:
    """The newest graph in a folder and all others there of its network, size and batch."""
    kin = _kin(newest(folder, Kind.ONNX).manifest)
    paths = sorted(folder.glob(f"*.{Kind.ONNX}"), key=lambda path: path.stat().st_mtime_ns)
    known = [path for path in paths if sidecar_of(path).is_file()]
    return [open_artefact(p) for p in known if _kin(read_sidecar(sidecar_of(p))) == kin]


def _kin(manifest: Manifest) -> tuple[Any, ...]:
    return manifest.network, manifest.preparation.size, manifest.inputs[0].batch


def compare(
    artefacts: Sequence[Artefact],
    data: Path | None,
    pictures: Pictures,
    timing: BenchOptions,
    progress: Progress,
    *,
    samples: int | None = None,
    environment: dict[str, Any],
) -> Comparison:
    """Judge graphs of one network on the same images, and time them in turn.

    Args:
        artefacts: Graphs of one network, size and batch; eager PyTorch is put before them.
        data: Labelled images; None leaves accuracy out.
        pictures: To compare decisions with eager's on, for graphs not yet compared.
        timing: How long to time.
        progress: Told of each step.
        samples: Labelled images at most.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.

    Raises:
        UsageError: They are not of one network, size and batch.
    """
    from hrvit_deploy.measure.bench import bench
    from hrvit_deploy.measure.evaluate import EvaluateOptions

    first = artefacts[0]
    for other in artefacts:
        if _kin(other.manifest) != _kin(first.manifest):
            raise UsageError(
                f"{other.path} and {first.path} are not of one network, size and batch",
                "compare graphs made from one checkpoint at one size",
            )
    judged = [None, *artefacts]
    scores: list[float | None] = [None] * len(judged)
    metric, images = "", 0
    if data is not None:
        options = EvaluateOptions(samples=samples)
        for index, artefact in enumerate(judged):
            found = pipeline.evaluate(
                artefact or first, data, options, progress, eager=artefact is None
            )
            scores[index] = found.score
            metric, images = found.metric, found.images
    agreements = [_agreement(artefact, pictures, progress) for artefact in artefacts]
    contenders = [
        pipeline.contender_for(first, eager=True),
        *map(pipeline.contender_for, artefacts),
    ]
    report = bench(contenders, timing, environment, progress)
    rows = [
        Row("eager", Precision.FP32, Precision.FP32, None, scores[0], None, *_times(report, 0)),
        *(
            Row(
                artefact.path.stem,
                artefact.manifest.precision,
                artefact.manifest.float_type,
                _size(artefact),
                scores[index],
                agreements[index - 1],
                *_times(report, index),
            )
            for index, artefact in enumerate(artefacts, start=1)
        ),
    ]
    return Comparison(tuple(rows), environment, metric, images, str(data or ""))


def _times(report: BenchReport, index: int) -> tuple[float | None, float | None, str]:
    row = report.results[index]
    return row.p50_ms, row.ratio, row.error


def _agreement(artefact: Artefact, pictures: Pictures, progress: Progress) -> float:
    """With eager PyTorch, on the same pictures for all; nothing is recorded."""
    return pipeline.compared(artefact, None, pictures, progress).agreement


def _size(artefact: Artefact) -> float:
    graph = artefact.manifest.graph
    names = [artefact.path.name, *(graph.external_data if graph else ())]
    sizes = [(artefact.path.parent / name).stat().st_size for name in names]
    return float(sum(sizes)) / 2**20
