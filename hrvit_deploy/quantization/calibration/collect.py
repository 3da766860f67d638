"""Histograms of every activation that a product takes, and ranges from them.

onnxruntime.quantization has calibrators of its own. They are not used: they keep every
activation of every image until the last is seen, make new bins from rounded edges as
values grow, so that ranges depend on the order of the images, compare entropies of 128
bins, and know no mean square. What was measured stands in docs/explanation/calibration.md.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, shape_inference

from hrvit_deploy.artefact import Artefact, Kind
from hrvit_deploy.errors import ArtefactError, InputError
from hrvit_deploy.graphs import read_named, runnable, tool_versions, write_graph
from hrvit_deploy.options import CalibrationOptions, Precision
from hrvit_deploy.progress import Progress, track
from hrvit_deploy.quantization.calibration.checks import PictureChecks, check_arrays
from hrvit_deploy.quantization.calibration.feed import batch_count, batches
from hrvit_deploy.quantization.calibration.histogram import Histogram
from hrvit_deploy.quantization.calibration.images import FileSet, PictureSet
from hrvit_deploy.quantization.calibration.ranges import Ranges, kept_percentile
from hrvit_deploy.quantization.calibration.tensors import product_inputs, sources, watch
from hrvit_deploy.quantization.calibration.thresholds import threshold
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

# Below it, chance decides which values are seen.
FEW_IMAGES = 32
# Activations returned at once, in bytes; with more, an image is run several times.
BUDGET = 1 << 30

Histograms = dict[str, Histogram]


def calibrate(
    artefact: Artefact, pictures: PictureSet, options: CalibrationOptions, progress: Progress
) -> Ranges:
    """Measure the range of every activation that a product takes.

    Args:
        artefact: A float32 graph.
        pictures: To measure on.
        options: How to choose ranges.
        progress: Advanced once a batch; warned of few images, noise and empty tensors.

    Raises:
        ArtefactError: The graph is not float32.
        InputError: An image does not fit, or an activation is infinite or NaN on it.
    """
    check_measurable(artefact)
    if options.random_data:
        progress.warn(
            "calibrating on noise: the ranges mean nothing, nor does what is made from them"
        )
    elif pictures.count < FEW_IMAGES:
        progress.warn(
            f"{pictures.count} images are few to calibrate on:"
            f" give at least {FEW_IMAGES}, better some hundred"
        )
    histograms = collect(artefact, pictures, progress)
    empty = [name for name, counted in histograms.items() if not counted.maximum]
    if empty:
        progress.warn(f"zero on every image: {', '.join(empty)}")
    return Ranges(
        model_sha256=artefact.manifest.sha256,
        model=artefact.path.name,
        method=options.method,
        images=pictures.count,
        images_sha256=pictures.sha256,
        random_data=options.random_data,
        percentile=kept_percentile(options),
        versions=tool_versions(),
        amax=ranges_from(histograms, options),
    )


def check_measurable(artefact: Artefact) -> None:
    """Refuse what is no float32 graph.

    Raises:
        ArtefactError: It is a plan, or typed otherwise.
    """
    manifest = artefact.manifest
    if manifest.kind is Kind.ONNX and manifest.precision is Precision.FP32:
        return
    graphs = [source.path for source in manifest.sources if source.kind == Kind.ONNX]
    name = graphs[-1] if graphs else "that hrvit-deploy export --precision fp32 writes"
    what = "graph" if manifest.kind is Kind.ONNX else manifest.kind
    raise ArtefactError(
        f"{artefact.path} is a {manifest.precision} {what}, and ranges are measured in fp32",
        f"calibrate the fp32 graph {name}: its ranges serve its {manifest.precision} kin too",
    )


def collect(artefact: Artefact, pictures: PictureSet, progress: Progress) -> Histograms:
    """Collect histograms by tensor; tensors that hold the same values share one.

    The activations of one batch are in memory at a time, whatever the number of images, and
    one session.

    Args:
        artefact: A float32 graph.
        pictures: To measure on.
        progress: Advanced once a batch.

    Raises:
        InputError: An image does not fit, or an activation is infinite or NaN on it.
    """
    check_arrays(pictures, artefact.manifest, progress)
    checks = PictureChecks(artefact.manifest)
    see = checks.see if isinstance(pictures, FileSet) else None
    model = read_named(artefact.path)
    origins = sources(model, product_inputs(model))
    histograms = {name: Histogram() for name in origins.values()}
    image = artefact.manifest.inputs[0].name
    groups = _groups(model, [name for name in histograms if name != image])
    # Image after image is made anew for each group: a session open is far larger than one.
    passes = groups or [[]]
    count = batch_count(pictures, artefact.manifest)
    feed = (
        (index, batch)
        for index in range(len(passes))
        for batch in batches(pictures, artefact.manifest, see if index == 0 else None)
    )
    fed = track(progress, "Calibrating", feed, count * len(passes))
    with ExitStack() as opened:
        for index, turns in groupby(fed, key=itemgetter(0)):
            opened.close()
            runner = opened.enter_context(_open(model, passes[index])) if groups else None
            for _, (names, values) in turns:
                if index == 0 and image in histograms:
                    _count(histograms, {image: values}, names)
                if runner is not None:
                    _count(histograms, runner.run({image: values}), names)
    if see is not None:
        checks.finish(progress)
    return {name: histograms[origin] for name, origin in origins.items()}


def ranges_from(histograms: Histograms, options: CalibrationOptions) -> dict[str, float]:
    """Choose the range of every tensor by one method."""
    distinct = {id(counted): counted for counted in histograms.values()}
    chosen = {key: threshold(counted, options) for key, counted in distinct.items()}
    return {name: chosen[id(counted)] for name, counted in histograms.items()}


def _open(model: ModelProto, names: Iterable[str]) -> OnnxRuntimeRunner:
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        path = Path(folder) / "watched.onnx"
        write_graph(watch(runnable(model), names), path)
        return OnnxRuntimeRunner(path)


def _count(
    histograms: Histograms, activations: dict[str, NDArray[Any]], images: tuple[str, ...]
) -> None:
    for name, values in activations.items():
        try:
            histograms[name].add(values)
        except InputError as error:
            raise InputError(
                f"{name} is infinite or NaN on {', '.join(images)}",
                "hrvit-deploy verify the graph on such images; if it passes, the weights or"
                " the images are broken",
            ) from error


def _groups(model: ModelProto, names: list[str], budget: int = BUDGET) -> list[list[str]]:
    """Group tensors so that each group fits the budget, or is one tensor alone."""
    sizes = _sizes(model)
    groups: list[list[str]] = []
    free = 0
    for name in names:
        needed = sizes.get(name, 0)
        if needed > free or not groups:
            groups.append([])
            free = budget
        groups[-1].append(name)
        free -= needed
    return groups


def _sizes(model: ModelProto) -> dict[str, int]:
    """Count the bytes of each float32 tensor, for one image where the batch is dynamic."""
    return {
        info.name: 4 * math.prod(d.dim_value or 1 for d in info.type.tensor_type.shape.dim)
        for info in shape_inference.infer_shapes(model).graph.value_info
    }
