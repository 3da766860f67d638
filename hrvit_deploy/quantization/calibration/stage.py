"""The calibration stage: a graph and images in, a file of ranges out, or the one there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.options import CalibrationOptions
from hrvit_deploy.progress import Progress
from hrvit_deploy.quantization.calibration.checks import warn_of_one_class
from hrvit_deploy.quantization.calibration.collect import calibrate, check_measurable
from hrvit_deploy.quantization.calibration.images import DEFAULT_FOLDER, open_pictures
from hrvit_deploy.quantization.calibration.ranges import (
    Ranges,
    differences,
    read_ranges,
    write_ranges,
)


def calibrate_artefact(
    artefact: Artefact,
    place: Path | None,
    options: CalibrationOptions,
    folder: Path,
    progress: Progress,
) -> tuple[Path, Ranges]:
    """Measure the ranges of a graph, unless the same are there already.

    Args:
        artefact: A float32 graph.
        place: Its images: a folder, a ``.txt`` list or an ``.npz``; None for
            ``calib/images/``.
        options: How to choose ranges.
        folder: Where ``NAME.json`` goes, or is.
        progress: Told whether ranges are taken again, and if not, why.

    Returns:
        The file, and what it holds.

    Raises:
        ArtefactError: The graph is not float32, or the file there does not hold ranges.
        InputError: There are no images, or they cannot be used.
    """
    check_measurable(artefact)
    pictures = open_pictures(place, options, artefact.manifest.preparation)
    for note in pictures.notes:
        progress.warn(note)
    path = folder / f"{artefact.path.stem}.json"
    if path.exists():
        # Not overwritten if it is something else, such as the sidecar of a graph.
        known = read_ranges(path)
        reasons = differences(
            known,
            model_sha256=artefact.manifest.sha256,
            images_sha256=pictures.sha256,
            options=options,
        )
        if not reasons:
            progress.note(f"taking {path}: the same model, images and method")
            return path, known
        progress.note(f"calibrating again, {path} does not serve: {', '.join(reasons)}")
    ranges = replace(
        calibrate(artefact, pictures, options, progress),
        place="" if options.random_data else str(place or DEFAULT_FOLDER),
        samples=options.samples,
    )
    if not options.random_data:
        warn_of_one_class(artefact, pictures, progress)
    write_ranges(path, ranges)
    return path, ranges
