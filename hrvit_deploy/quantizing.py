"""INT8 and FP8 that can be trusted: find ranges, quantize, judge, and mend what fails.

Engines are built only from what comes out of here good enough; see
:mod:`hrvit_deploy.judging` for what that means.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import (
    Artefact,
    Kind,
    open_artefact,
    read_sidecar,
    sidecar_of,
)
from hrvit_deploy.errors import ArtefactError, GateError, InputError, UsageError
from hrvit_deploy.judging import Evidence, describe, judge, judge_by_parity
from hrvit_deploy.options import CalibrationOptions, Precision, QuantizeOptions
from hrvit_deploy.pipeline import CALIB_DIR, EXPORT_DIR, Pictures
from hrvit_deploy.progress import Progress
from hrvit_deploy.searching import Search

if TYPE_CHECKING:
    from hrvit_deploy.calib.ranges import Ranges


def narrowed(
    graph: Artefact,
    rest: Precision,
    pictures: Pictures,
    progress: Progress,
    *,
    folder: Path | None = None,
) -> tuple[Artefact, bool]:
    """The graph in float16 or bfloat16, and whether it was typed and compared just now.

    Args:
        graph: In float32, or already in that type.
        rest: The type.
        pictures: To measure activations on and to compare on.
        progress: Told of each step.
        folder: Where a typed graph goes; None for beside this one.
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
            return known, False
    return pipeline.narrow(graph, rest, pictures, progress, path=path), True


def _descends(path: Path, graph: Artefact) -> bool:
    """Whether a file was made from that graph, or from another that had its name."""
    try:
        sources = read_sidecar(sidecar_of(path)).sources
    except ArtefactError:
        return False
    return bool(sources) and sources[0].path == graph.path.name


def quantize(
    graph: Artefact,
    ranges: tuple[Path, Ranges],
    options: QuantizeOptions,
    evidence: Evidence,
    progress: Progress,
    *,
    rest: Precision | None = None,
    auto: bool = False,
    folder: Path = EXPORT_DIR,
) -> Artefact:
    """Quantize a float graph and judge what came of it.

    Args:
        graph: In float32, or float16.
        ranges: File and contents, of the float32 graph.
        options: Which products, and to what.
        evidence: What to judge on.
        progress: Told of each step.
        rest: Type of everything else: FP32 or FP16; None keeps the graph's.
        auto: Leave the worst products in float until the gate holds.
        folder: Where graphs go.

    Returns:
        The quantized artefact; its sidecar holds the gate, passed or not.

    Raises:
        GateError: With ``auto``, the gate does not hold whatever is left out.
    """
    from hrvit_deploy.calib.quantize import quantize_artefact

    file, held = ranges
    rest = rest or graph.manifest.precision
    base, _ = narrowed(graph, rest, evidence.pictures, progress, folder=folder)
    path = folder / f"{base.path.stem}-{options.precision}.onnx"
    reference = _float32_of(graph)

    def make(options: QuantizeOptions) -> Artefact:
        made = quantize_artefact(base, held, path, options, ranges_file=file)
        quantization = made.manifest.quantization
        assert quantization is not None
        progress.note(f"{quantization.products} products in {options.precision}: {path.name}")
        return judge(made, reference, evidence, progress)

    made = make(options)
    gate = made.manifest.gate
    assert gate is not None
    if not auto or gate.passed:
        return made
    progress.note(f"{describe(gate)}: looking for the products that cost most")
    search = Search(reference or graph, held, options, evidence, progress)
    kept: tuple[str, ...] = ()
    for kept in search.attempts():
        made = make(replace(options, keep=(*kept, *options.keep)))
        gate = made.manifest.gate
        assert gate is not None
        if gate.passed:
            for name in kept:
                progress.note(f"  in float: {name}")
            progress.note(f"{len(kept)} products stay in float, the worst first")
            return made
    raise GateError(
        f"{path}: even with {len(kept)} more products in float, {describe(gate)}",
        "build --fp16, or loosen the gate with --max-drop or --min-agreement",
    )


def type_and_judge(
    graph: Artefact,
    precision: Precision,
    evidence: Evidence,
    progress: Progress,
    *,
    folder: Path = EXPORT_DIR,
) -> Artefact:
    """A float32 graph in float16 or bfloat16, judged against itself."""
    typed, fresh = narrowed(graph, precision, evidence.pictures, progress, folder=folder)
    if fresh and evidence.data is None:
        return judge_by_parity(typed, evidence)
    return judge(typed, graph, evidence, progress)


def source_of(made: Artefact) -> Artefact | None:
    """The float32 graph that a narrower one was made from, if it still lies near it."""
    for source in made.manifest.sources:
        if source.kind != Kind.ONNX:
            continue
        for folder in dict.fromkeys((made.path.parent, EXPORT_DIR)):
            path = folder / source.path
            if not (path.is_file() and sidecar_of(path).is_file()):
                continue
            manifest = read_sidecar(sidecar_of(path))
            wanted = (source.sha256, Precision.FP32)
            if (manifest.sha256, manifest.precision) == wanted:
                return open_artefact(path)
    return None


def _float32_of(graph: Artefact) -> Artefact | None:
    """What a quantized graph is held against; None for eager PyTorch."""
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
    """The ranges of a graph: those given, those measured before, or measured now.

    Args:
        graph: In float32, or made from such a one.
        file: Ranges to take.
        images: A folder, list or archive to calibrate on; None for ``calib/images/``.
        options: How to calibrate; None if nobody said, and any ranges will do.
        progress: Told what is taken.
        folder: Where ranges lie, named after their graph.

    Raises:
        ArtefactError: The ranges are of another graph, or of images that have changed.
        InputError: There are neither images nor ranges.
        UsageError: Ranges are given, and how to measure others.
    """
    from hrvit_deploy.calib.images import DEFAULT_FOLDER
    from hrvit_deploy.calib.ranges import check_fits, read_ranges

    if file is not None:
        if options is not None:
            raise UsageError(
                "ranges are given: how to measure others says nothing",
                "leave out --ranges, or --method and --random-data",
            )
        held = read_ranges(file)
        check_fits(held, graph)
        return file, held
    measured = _to_measure(graph)
    known = folder / f"{measured.path.stem}.json"
    anything = images is None and options is None
    if anything and known.is_file():
        found = read_ranges(known)
        if found.model_sha256 == measured.manifest.sha256:
            _check_images(known, found, measured)
            progress.note(f"taking {known}: {found.method} of {found.images} images")
            return known, found
    random = options is not None and options.random_data
    if images is None and not random and not holds_images(DEFAULT_FOLDER):
        if known.is_file():
            check_fits(read_ranges(known), measured)
        raise InputError(
            f"there are no images in {DEFAULT_FOLDER}/ and no ranges in {known}",
            f"put some hundred images of the kind it will see into {DEFAULT_FOLDER}/, or"
            " name a folder with --images DIR",
        )
    return pipeline.calibrate(
        measured, images, options or CalibrationOptions(), folder, progress
    )


def _to_measure(graph: Artefact) -> Artefact:
    """The float32 graph: this one, or the one it was made from."""
    found = _float32_of(graph)
    if found is not None:
        return found
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
    from hrvit_deploy.calib.images import DEFAULT_FOLDER, open_pictures

    if ranges.place != str(DEFAULT_FOLDER) or not holds_images(DEFAULT_FOLDER):
        return
    options = CalibrationOptions(samples=ranges.samples)
    now = open_pictures(DEFAULT_FOLDER, options, graph.manifest.preparation)
    if now.sha256 != ranges.images_sha256:
        raise ArtefactError(
            f"{path} does not serve: the images in {DEFAULT_FOLDER}/ changed",
            "run hrvit-deploy calibrate again, or take the ranges as they are with --ranges",
        )


def holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder."""
    from hrvit_deploy.images import list_images

    try:
        return bool(list_images(folder))
    except InputError:
        return False
