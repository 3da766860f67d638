"""INT8 and FP8 that can be trusted: find ranges, quantize, check the quality, mend what fails.

Engines are built only from what comes out of here good enough; see
:mod:`hrvit_deploy.pipeline.quality_gate` for what that means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy.artefact import (
    Artefact,
    Kind,
    Preparation,
    Source,
    known_sidecar,
    open_artefact,
    read_sidecar,
    record,
    sidecar_of,
)
from hrvit_deploy.errors import ArtefactError, GateError, InputError, UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.options import CalibrationOptions, Precision, QuantizeOptions, Task
from hrvit_deploy.outputs import workplace
from hrvit_deploy.pipeline import stages
from hrvit_deploy.pipeline.mixed_precision import Search, ranking_file
from hrvit_deploy.pipeline.quality_gate import (
    QualityCriteria,
    check_quality,
    check_quality_by_parity,
    judged_apart,
    recheck,
)
from hrvit_deploy.pipeline.stages import CALIB_DIR, EXPORT_DIR
from hrvit_deploy.progress import Progress
from hrvit_deploy.verdict import (
    Outcome,
    accept,
    describe_gate,
    inherited,
    make_checked,
    require_usable,
    verdict_of,
)

if TYPE_CHECKING:
    from hrvit_deploy.quantization.calibration.ranges import Ranges


NOISE = "calibrated on noise: the answers mean nothing"


def find_or_cast(
    graph: Artefact,
    rest: Precision,
    images: ImageSource,
    progress: Progress,
    *,
    folder: Path | None = None,
    judge: Callable[[Artefact], Artefact] = lambda made: made,
    accept: bool = False,
) -> tuple[Artefact, bool]:
    """Find the graph in float16 or bfloat16, or cast it; return whether it was cast just now.

    Args:
        graph: In float32, or already in that type.
        rest: The type.
        images: To measure activations on and to compare on.
        progress: Shown each step.
        folder: Where a typed graph goes; None for beside this one.
        judge: Judges one that was cast just now further, before it has its name.
        accept: Take one that misses all the same, and say so in its sidecar.
    """
    if rest is graph.manifest.precision:
        return graph, False
    path = (folder or graph.path.parent) / f"{graph.path.stem}-{rest}.onnx"
    if path.exists() and not _descends(path, graph):
        # Somebody exported it as it is, perhaps with inputs of another type.
        path = path.with_stem(f"{graph.path.stem}-to-{rest}")
    if sidecar_of(path).is_file() and path.is_file():
        known = open_artefact(path)
        if graph.manifest.sha256 == known.manifest.sources[0].sha256:
            return _inheriting(known, graph, progress), False
    made = stages.cast(graph, rest, images, progress, path=path, judge=judge, accept=accept)
    return made, True


def _inheriting(known: Artefact, graph: Artefact, progress: Progress) -> Artefact:
    """Say in a graph's sidecar what was accepted in its source since it was made."""
    every = tuple(dict.fromkeys((*inherited(graph.manifest), *known.manifest.accepted)))
    if set(every) == set(known.manifest.accepted):
        return known
    return record(known, progress=progress, accepted=every)


def _descends(path: Path, graph: Artefact) -> bool:
    """Return whether a file was made from that graph, or from another that had its name."""
    try:
        sources = read_sidecar(sidecar_of(path)).sources
    except ArtefactError:
        return False
    return bool(sources) and sources[0].path == graph.path.name


def quantize(
    graph: Artefact,
    ranges: tuple[Path, Ranges],
    options: QuantizeOptions,
    criteria: QualityCriteria,
    progress: Progress,
    *,
    rest: Precision | None = None,
    auto: bool = False,
    folder: Path = EXPORT_DIR,
) -> Artefact:
    """Quantize a float graph and judge what came of it.

    It bears its name only if it passed; what stood there under that name stands till then.

    Args:
        graph: In float32, or float16.
        ranges: File and contents, of the float32 graph.
        options: Which products, and to what.
        criteria: What to judge on.
        progress: Shown each step.
        rest: Type of everything else: FP32 or FP16; None keeps the graph's.
        auto: Leave the worst products in float until the gate holds.
        folder: Where graphs go.

    Returns:
        The quantized artefact; in ``refused/`` below the folder where it missed.

    Raises:
        GateError: With ``auto``, the gate does not hold whatever is left out; or the graph
            in its narrower type missed what it is held to.
    """
    from hrvit_deploy.quantization.quantize import quantize_artefact

    if auto and graph.manifest.network.task is None:
        raise UsageError(
            f"{graph.path.name} returns neither scores nor labels, and --auto ranks products by"
            " what is decided",
            "leave it out, and name the products that stay in float with --keep",
        )
    file, measured_ranges = ranges
    rest = rest or graph.manifest.precision
    calibrated = calibrated_files(measured_ranges, graph.manifest.preparation)
    criteria = judged_apart(criteria, calibrated)
    base, _ = find_or_cast(
        graph, rest, criteria.images, progress, folder=folder, accept=criteria.accept
    )
    require_usable(base)
    path = folder / f"{base.path.stem}-{options.precision}.onnx"
    reference = _float32_of(graph)

    def make(options: QuantizeOptions, *, accept: bool = False) -> Artefact:
        def judged(staged: Path) -> Artefact:
            made = quantize_artefact(base, measured_ranges, staged, options, ranges_file=file)
            quantization = made.manifest.quantization
            assert quantization is not None
            progress.note(
                f"{quantization.products} products in {options.precision}: {path.name}"
            )
            return check_quality(made, reference, criteria, progress)

        return make_checked(path, judged, accepted=accept)

    if not auto:
        return make(options, accept=criteria.accept)
    made = make(options)
    gate = made.manifest.gate
    assert gate is not None
    # Products in float mend what was missed, not what these images cannot tell.
    if passes(made) or gate.unjudged:
        return make(options, accept=True) if criteria.accept and not passes(made) else made
    progress.note(f"{describe_gate(gate)}: looking for the products that cost most")
    float32 = reference or graph
    resume = ranking_file(float32, (file, measured_ranges), options, criteria)
    search = Search(float32, measured_ranges, options, criteria, progress, resume)
    kept: tuple[str, ...] = ()
    for kept in search.attempts():
        made = make(replace(options, keep=(*kept, *options.keep)))
        if passes(made):
            for name in kept:
                progress.note(f"  in float: {name}")
            progress.note(f"{len(kept)} products stay in float, the worst first")
            resume.remove()
            return made
    if criteria.accept:
        return make(replace(options, keep=(*kept, *options.keep)), accept=True)
    raise GateError(
        f"{made.path}: even with {len(kept)} more products in float,"
        f" {verdict_of(made.manifest).reason}",
        "build --fp16, or loosen the gate with --max-drop or --min-agreement",
    )


def passes(made: Artefact) -> bool:
    """Return whether nothing was missed, held against the graph or not."""
    return verdict_of(made.manifest).outcome in (Outcome.PASSED, Outcome.ACCEPTED)


def calibrated_files(ranges: Ranges, preparation: Preparation) -> frozenset[Path]:
    """Return the files that ranges were measured on, resolved; none where they are gone."""
    from hrvit_deploy.quantization.calibration.images import FileSet, open_pictures

    if ranges.random_data or not ranges.place:
        return frozenset()
    options = CalibrationOptions(ranges.method, samples=ranges.samples)
    try:
        pictures = open_pictures(Path(ranges.place), options, preparation)
    except InputError:
        return frozenset()
    if not isinstance(pictures, FileSet):
        return frozenset()
    return frozenset(path.resolve() for path in pictures.paths)


def cast_and_check(
    graph: Artefact,
    precision: Precision,
    criteria: QualityCriteria,
    progress: Progress,
    *,
    folder: Path = EXPORT_DIR,
) -> Artefact:
    """Cast a float32 graph to float16 or bfloat16 and check its quality against it."""
    graph = usable_source(graph, criteria, progress)

    def judge(made: Artefact) -> Artefact:
        if criteria.data is None:
            return check_quality_by_parity(made, criteria, progress)
        return check_quality(made, graph, criteria, progress)

    typed, fresh = find_or_cast(
        graph,
        precision,
        criteria.images,
        progress,
        folder=folder,
        judge=judge,
        accept=criteria.accept,
    )
    return typed if fresh else recheck(typed, graph, criteria, progress)


def source_of(made: Artefact) -> Artefact | None:
    """Find the float32 graph that a narrower one was made from, if it still lies near it."""
    for source in made.manifest.sources:
        if source.kind != Kind.ONNX:
            continue
        for path in _places_of(source, made):
            manifest = known_sidecar(path) if path.is_file() else None
            wanted = (source.sha256, Precision.FP32)
            if manifest is not None and (manifest.sha256, manifest.precision) == wanted:
                return open_artefact(path)
    return None


def _places_of(source: Source, made: Artefact) -> list[Path]:
    """Return where a graph may lie that another was made from."""
    origin = made.manifest.origin
    # What was taken in lay anywhere, and so did what it was compared with.
    named = [origin.file, origin.compared_with] if origin else []
    beside = [folder / source.path for folder in (made.path.parent, EXPORT_DIR)]
    return list(dict.fromkeys((*beside, *map(Path, named))))


def _float32_of(graph: Artefact) -> Artefact | None:
    """Return the reference of a quantized graph; None for eager PyTorch."""
    return graph if graph.manifest.precision is Precision.FP32 else source_of(graph)


def find_ranges(
    graph: Artefact,
    file: Path | None,
    images: Path | None,
    options: CalibrationOptions | None,
    progress: Progress,
    *,
    folder: Path = CALIB_DIR,
) -> tuple[Path, Ranges]:
    """Find the ranges of a graph: those given, those measured before, or measured now.

    Args:
        graph: In float32, or made from such a one.
        file: Ranges to take.
        images: A folder, list or archive to calibrate on; None for ``calib/images/``.
        options: How to calibrate; None if nobody said, and any ranges will do.
        progress: Shown what is taken.
        folder: Where ranges lie, named after their graph.

    Raises:
        ArtefactError: The ranges are of another graph, or of images that have changed.
        InputError: There are neither images nor ranges.
        UsageError: Ranges are given, and how to measure others.
    """
    from hrvit_deploy.quantization.calibration.images import DEFAULT_FOLDER
    from hrvit_deploy.quantization.calibration.ranges import check_fits, read_ranges
    from hrvit_deploy.quantization.calibration.stage import calibrate_artefact

    if file is not None:
        if options is not None:
            raise UsageError(
                "ranges are given: how to measure others says nothing",
                "leave out --ranges, or --method and --random-data",
            )
        given_ranges = read_ranges(file)
        check_fits(given_ranges, graph)
        return file, given_ranges
    measured = _to_measure(graph)
    known = folder / f"{measured.path.stem}.json"
    anything = images is None and options is None
    if anything and known.is_file():
        known_ranges = read_ranges(known)
        if known_ranges.model_sha256 == measured.manifest.sha256:
            _check_images(known, known_ranges, measured)
            progress.note(
                f"taking {known}: {known_ranges.method} of {known_ranges.images} images"
            )
            return known, known_ranges
    random = options is not None and options.random_data
    if images is None and not random and not holds_images(DEFAULT_FOLDER):
        if known.is_file():
            check_fits(read_ranges(known), measured)
        raise InputError(
            f"there are no images in {DEFAULT_FOLDER}/ and no ranges in {known}",
            f"put some hundred images of the kind it will see into {DEFAULT_FOLDER}/, or"
            " name a folder with --images DIR",
        )
    return calibrate_artefact(
        measured, images, options or CalibrationOptions(), folder, progress
    )


def _to_measure(graph: Artefact) -> Artefact:
    """Return the float32 graph: this one, or the one it was made from."""
    float32 = _float32_of(graph)
    if float32 is not None:
        return float32
    if any(source.kind == Kind.ONNX for source in graph.manifest.sources):
        raise ArtefactError(
            f"the float32 graph that {graph.path.name} was made from is not beside it",
            "give its ranges with --ranges, or the float32 graph instead",
        )
    raise ArtefactError(
        f"{graph.path.name} was exported in {graph.manifest.precision}, and ranges are measured"
        " in fp32",
        "export it in fp32, and quantize that with --rest fp16",
    )


def _check_images(path: Path, ranges: Ranges, graph: Artefact) -> None:
    """Refuse ranges whose images lie in ``calib/images/`` no more as they were."""
    from hrvit_deploy.quantization.calibration.images import DEFAULT_FOLDER, open_pictures

    if ranges.place != str(DEFAULT_FOLDER) or not holds_images(DEFAULT_FOLDER):
        return
    options = CalibrationOptions(samples=ranges.samples)
    now = open_pictures(DEFAULT_FOLDER, options, graph.manifest.preparation)
    if now.sha256 != ranges.images_sha256:
        raise ArtefactError(
            f"{path} does not serve: the images in {DEFAULT_FOLDER}/ changed",
            "run hrvit-deploy calibrate again, or take the ranges as they are with --ranges",
        )


@dataclass(frozen=True)
class QuantizeRequest:
    """All that a user says about quantizing one graph.

    Attributes:
        options: Which products, and to what.
        criteria: What the quality of the result is checked on.
        calibration: How to calibrate; None where nothing was said.
        ranges: File of ranges to take; None for those in ``calib/``, or measured now.
        images: To calibrate on; None for ``calib/images/``.
        rest: Type of everything else; None keeps the graph's.
        auto: Whether the worst products stay in float until the gate holds.
    """

    options: QuantizeOptions
    criteria: QualityCriteria
    calibration: CalibrationOptions | None = None
    ranges: Path | None = None
    images: Path | None = None
    rest: Precision | None = None
    auto: bool = False

    @property
    def says_how(self) -> bool:
        """Whether anything is said that only a float graph can follow."""
        usual = QuantizeOptions(self.options.precision)
        return self.options != usual or bool(self.calibration or self.ranges or self.auto)


def quantize_request(
    graph: Artefact, request: QuantizeRequest, progress: Progress, folder: Path = EXPORT_DIR
) -> Artefact:
    """Quantize a float graph; check the quality of a quantized one again.

    Args:
        graph: In float32 or float16, or already in the request's precision.
        request: How to quantize, and what to check on.
        progress: Shown each step.
        folder: Where graphs are written.

    Returns:
        The quantized artefact; one made now lies in ``refused/`` where it missed.

    Raises:
        UsageError: The graph is quantized already, and the request says how to.
    """
    precision = request.options.precision
    if graph.manifest.network.task is Task.FEATURES:
        # What eight bits cost is judged by decisions, and feature maps make none.
        _ = graph.manifest.network.known_task
    if graph.manifest.precision is precision:
        if request.says_how:
            raise UsageError(
                f"{graph.path.name} is quantized already",
                "give the float32 graph, or leave out what says how to quantize",
            )
        if graph.manifest.quantization and graph.manifest.quantization.random_data:
            progress.warn(NOISE)
        return recheck(graph, source_of(graph), request.criteria, progress)
    check_castable(graph, request.rest)
    graph = usable_source(graph, request.criteria, progress)
    ranges = find_ranges(
        graph,
        request.ranges,
        request.images,
        request.calibration,
        progress,
        folder=workplace(CALIB_DIR, folder, progress),
    )
    if ranges[1].random_data:
        progress.warn(NOISE)
    return quantize(
        graph,
        ranges,
        request.options,
        request.criteria,
        progress,
        rest=request.rest,
        auto=request.auto,
        folder=folder,
    )


def usable_source(graph: Artefact, criteria: QualityCriteria, progress: Progress) -> Artefact:
    """Return a graph to make others from; one that was refused only where it is accepted.

    What is made from it is compared by wider gates, and would pass them.

    Raises:
        GateError: It was refused.
    """
    taken = accept(graph, progress) if criteria.accept else graph
    require_usable(taken)
    return taken


def check_castable(graph: Artefact, rest: Precision | None) -> None:
    """Refuse a graph that cannot be quantized, before anything is measured.

    Raises:
        UsageError: It is no float graph, or would have to become wider than it is.
    """
    from hrvit_deploy.quantization.quantize import check_float

    check_float(graph)
    if rest is Precision.FP32 and graph.manifest.precision is Precision.FP16:
        raise UsageError(
            f"{graph.path.name} is fp16 and cannot become fp32", "give the float32 graph"
        )


def holds_images(folder: Path) -> bool:
    """Return whether there is an image in a folder."""
    from hrvit_deploy.image_files import list_images

    try:
        return bool(list_images(folder))
    except InputError:
        return False
