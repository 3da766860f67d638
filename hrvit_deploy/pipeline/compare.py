"""Graphs of one network side by side: size, accuracy, agreement and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrvit_deploy.artefact import (
    Artefact,
    Kind,
    Manifest,
    Parity,
    find_newest,
    known_sidecar,
    open_artefact,
    read_sidecar,
    sidecar_of,
)
from hrvit_deploy.datasets import LabelOrientation
from hrvit_deploy.errors import UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import (
    Implementation,
    InferencePrecision,
    Provider,
    RunnerSpec,
    RunOptions,
)
from hrvit_deploy.verdict import Outcome, describe_parity, verdict_of

if TYPE_CHECKING:
    from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, Evaluation
    from hrvit_deploy.measure.latency.bench import BenchOptions, BenchResult


@dataclass(frozen=True)
class Row:
    """One candidate.

    Attributes:
        name: Of its file, or ``eager``.
        precision: What its products run in.
        rest: What everything else runs in.
        size_mib: Of its file and the weights beside it; None for eager PyTorch.
        score: mIoU or top-1 where there are labels.
        agreement: Mean intersection over union with eager's decisions, over the classes
            that eager decides.
        p50_ms: Median latency; None where it could not be timed.
        ratio: Of that to the first row's.
        error: Why it could not be timed.
        missed: What its comparison with eager missed; empty where it passed.
        accepted: Whether it is taken in spite of that.
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
    missed: str = ""
    accepted: bool = False


@dataclass(frozen=True)
class Comparison:
    """All of them, eager PyTorch first.

    Attributes:
        metric: ``miou`` or ``top1``; empty without labels.
        images: Labelled images judged.
        data: Where those are.
        provider: What ran the graphs.
        inference_precision: What OpenVINO computed in.
    """

    rows: tuple[Row, ...]
    environment: dict[str, Any]
    metric: str = ""
    images: int = 0
    data: str = ""
    provider: Provider = Provider.CPU
    inference_precision: InferencePrecision = InferencePrecision.F32


def family(folder: Path) -> list[Artefact]:
    """Open the newest graph in a folder and all others there of its network, size and batch."""
    paths = sorted(folder.glob(f"*.{Kind.ONNX}"), key=lambda path: path.stat().st_mtime_ns)
    kin = _kin(read_sidecar(sidecar_of(find_newest(folder, Kind.ONNX))))
    known = {path: known_sidecar(path) for path in paths}
    return [open_artefact(path) for path, told in known.items() if told and _kin(told) == kin]


def _kin(manifest: Manifest) -> tuple[Any, ...]:
    return manifest.network, manifest.preparation.size, manifest.inputs[0].batch


def labelled_source(artefact: Artefact, data: Path) -> ImageSource:
    """Return the images of a labelled set, to compare decisions on: what the network is for."""
    from hrvit_deploy.measure.accuracy.evaluate import labelled_data

    samples = labelled_data(data, artefact.manifest.network).samples
    return ImageSource(data, files=tuple(sample.image for sample in samples))


def compare_artefacts(
    artefacts: Sequence[Artefact],
    data: Path | None,
    images: ImageSource,
    timing: BenchOptions,
    progress: Progress,
    *,
    samples: int | None = None,
    labels: LabelOrientation | None = None,
    labels_from: int | None = None,
    run: RunOptions = RunOptions(),
    environment: dict[str, Any],
) -> Comparison:
    """Judge graphs of one network on the same images, and time them in turn.

    Args:
        artefacts: Graphs of one network, size and batch; eager PyTorch is put before them.
        data: Labelled images; None leaves accuracy out.
        images: To compare decisions with eager's on.
        timing: How long to time.
        progress: Shown each step.
        samples: Labelled images at most.
        labels: What label maps are drawn on where EXIF turns their images.
        labels_from: What label maps call the first class; None for what their layout does.
        run: How the graphs are run.
        environment: Of :func:`hrvit_deploy.measure.environment.describe_environment`.

    Raises:
        UsageError: They are not of one network, size and batch.
    """
    from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions
    from hrvit_deploy.measure.latency.bench import bench
    from hrvit_deploy.measure.latency.worker import candidate_of

    _require_kin(artefacts)
    specs = [stages.eager(artefacts[0], run), *(RunnerSpec(graph, run) for graph in artefacts)]
    evaluations = []
    if data is not None:
        options = EvaluateOptions(samples=samples, labels=labels, labels_from=labels_from)
        evaluations = _judge(artefacts, data, options, progress, run)
        if evaluations[0].doubt:
            progress.warn(evaluations[0].doubt)
    # Nothing is recorded of these comparisons.
    parities = [
        stages.measure_parity(artefact, None, images, progress, run=run)
        for artefact in artefacts
    ]
    report = bench([candidate_of(spec) for spec in specs], timing, environment, progress)
    rows = _rows(
        artefacts, [evaluation.score for evaluation in evaluations], parities, report.results
    )
    return Comparison(
        rows,
        environment,
        metric=evaluations[0].metric if evaluations else "",
        images=evaluations[0].images if evaluations else 0,
        data=str(data) if evaluations else "",
        provider=run.provider,
        inference_precision=run.inference_precision,
    )


def _require_kin(artefacts: Sequence[Artefact]) -> None:
    first = artefacts[0]
    for other in artefacts:
        if _kin(other.manifest) != _kin(first.manifest):
            raise UsageError(
                f"{other.path} and {first.path} are not of one network, size and batch",
                "compare graphs made from one checkpoint at one size",
            )


def _judge(
    artefacts: Sequence[Artefact],
    data: Path,
    options: EvaluateOptions,
    progress: Progress,
    run: RunOptions,
) -> list[Evaluation]:
    """Evaluate eager PyTorch and then each graph on the labelled images."""
    from hrvit_deploy.measure.accuracy.evaluate import evaluate_artefact

    in_torch = replace(run, implementation=Implementation.EAGER)
    eager = evaluate_artefact(artefacts[0], data, options, progress, run=in_torch)
    graphs = [
        evaluate_artefact(artefact, data, options, progress, run=run) for artefact in artefacts
    ]
    return [eager, *graphs]


def _rows(
    artefacts: Sequence[Artefact],
    scores: Sequence[float],
    parities: Sequence[Parity],
    times: Sequence[BenchResult],
) -> tuple[Row, ...]:
    """Make a row of each; the first score and the first time are eager PyTorch's."""
    unknown: Sequence[float | None] = [None] * len(times)
    known = iter(scores or unknown)
    eager, *others = times
    full = Precision.FP32
    first = Row(
        "eager", full, full, None, next(known), None, eager.p50_ms, eager.ratio, eager.error
    )
    return first, *(
        Row(
            artefact.path.stem,
            artefact.manifest.precision,
            artefact.manifest.float_type,
            _size(artefact),
            score,
            parity.class_agreement,
            time.p50_ms,
            time.ratio,
            time.error,
            _missed(artefact, parity),
            _accepted(artefact),
        )
        for artefact, score, parity, time in zip(
            artefacts, known, parities, others, strict=True
        )
    )


def _missed(artefact: Artefact, parity: Parity) -> str:
    """Say what a graph misses: what it was compared by now, and what its sidecar says."""
    told = stages.is_told(artefact)
    now = "" if parity.passed or told else describe_parity(parity)
    verdict = verdict_of(artefact.manifest)
    before = "" if verdict.usable else str(verdict)
    return now or before


def _accepted(artefact: Artefact) -> bool:
    return verdict_of(artefact.manifest).outcome is Outcome.ACCEPTED


def _size(artefact: Artefact) -> float:
    graph = artefact.manifest.graph
    names = [artefact.path.name, *(graph.external_data if graph else ())]
    sizes = [(artefact.path.parent / name).stat().st_size for name in names]
    return float(sum(sizes)) / 2**20
