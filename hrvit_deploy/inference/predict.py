"""What a network sees in images of any kind: pictures of it, or the five likeliest classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hrvit_deploy.artefact import (
    Artefact,
)
from hrvit_deploy.classes import ClassSet, choose_classes
from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.image_files import notes_on
from hrvit_deploy.images import NamedImage, Pixels, load_image
from hrvit_deploy.inference.fit import FitOptions
from hrvit_deploy.inference.fonts import lacking
from hrvit_deploy.inference.labels import Labels
from hrvit_deploy.inference.open import open_prepared
from hrvit_deploy.inference.output_names import Picture, name_outputs
from hrvit_deploy.inference.overlay import draw_overlay, entries_of, index_image
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.options import ImageSize, Task
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import RunnerSpec, RunOptions
from hrvit_deploy.staging import staging

PREDICTIONS_DIR = Path("predictions")
TOP = 5


@dataclass(frozen=True)
class PredictOptions:
    """How images are looked at, and how predictions are drawn.

    Attributes:
        fit: How an image becomes the input.
        classes: ``ade20k``, ``cityscapes`` or a file of names; empty for what there is.
        alpha: How much of the classes' colours over a picture, from 0 to 1.
        out: Folder that pictures of a segmenter's predictions go to, as ``NAME-overlay.png``
            and ``NAME-labels.png``.
    """

    fit: FitOptions = field(default_factory=FitOptions)
    classes: str = ""
    alpha: float = 0.5
    out: Path = PREDICTIONS_DIR

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"an alpha of {self.alpha} is no share", "give 0 to 1")


@dataclass(frozen=True)
class TopPrediction:
    """A class an image may show."""

    name: str
    index: int
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What was seen in one image.

    Attributes:
        overlay: The picture that shows it; None for a classifier.
        labels: The class map as an indexed picture; None for a classifier.
        shares: Of the pixels, by name, the largest first; empty for a classifier.
        likeliest: The five likeliest classes; empty for a segmenter.
    """

    image: Path
    overlay: Path | None = None
    labels: Path | None = None
    shares: dict[str, float] = field(default_factory=dict)
    likeliest: tuple[TopPrediction, ...] = ()


class Loaded(NamedTuple):
    """A picture and its pixels."""

    picture: Picture
    image: NamedImage


@dataclass(frozen=True)
class Failure:
    """An image that could not be used, and why."""

    image: Path
    error: InputError


@dataclass(frozen=True)
class Predictions:
    """What was seen in all of them."""

    made: tuple[Prediction, ...]
    failed: tuple[Failure, ...]


def predict_images(
    artefact: Artefact,
    images: Sequence[Path],
    options: PredictOptions,
    progress: Progress,
    *,
    run: RunOptions = RunOptions(),
) -> Predictions:
    """Predict what an artefact, or the network it came from, sees in images.

    Args:
        artefact: The graph or plan.
        images: Files, and folders of them.
        options: How images become the input, and how and where results are drawn.
        progress: Advanced once an image.
        run: How it is run.

    Returns:
        A prediction for each image, or why there is none.

    Raises:
        InputError: A folder holds no image, or the classes asked for do not fit.
        UsageError: The network judges whole images, and windows are asked for.
    """
    network = artefact.manifest.network
    options.fit.check_task(network.known_task)
    if network.task is Task.SEGMENT:
        require_writable(options.out)
    beside = next((path for path in images if path.is_dir()), None)
    classes = choose_classes(network, options.classes, beside)
    if network.task is Task.SEGMENT:
        _tell_lacking(classes, progress)
    pictures = name_outputs(images, options.out)
    for folder in filter(Path.is_dir, images):
        for note in notes_on(folder):
            progress.warn(note)
    with open_prepared(RunnerSpec(artefact, run)) as prepared:
        return predict(
            prepared, network.known_task, classes, pictures, options, progress=progress
        )


def _tell_lacking(classes: ClassSet, progress: Progress) -> None:
    """Say once which names no font here can write in a legend."""
    names = lacking(classes.names)
    if names:
        progress.warn(
            f"no font here has the characters of {len(names)} of {len(classes)} class names,"
            f" such as {names[0]}: legends show their indices; install one that has them, such"
            " as Noto Sans CJK"
        )


def predict(
    prepared: PreparedRunner,
    task: Task,
    classes: ClassSet,
    pictures: Sequence[Picture],
    options: PredictOptions,
    *,
    progress: Progress,
) -> Predictions:
    """Predict images; pass over those that cannot be used, and name them.

    Args:
        prepared: The runner that predicts.
        task: Of its network.
        classes: Of its network.
        pictures: Of any size and kind.
        options: How images are looked at, and how predictions are drawn.
        progress: Advanced once an image.

    Raises:
        ArtefactError: Nothing can be written to the output folder.
        RunnerError: The runner failed.
    """
    predict_batch = _classify if task is Task.CLASSIFY else _segment
    made: list[Prediction] = []
    failed: list[Failure] = []
    step = progress.start(f"Asking {prepared.runner.name}", len(pictures))
    try:
        for group in _groups(pictures, prepared.batch):
            loaded = list(_load(group, failed))
            if loaded:
                made += predict_batch(prepared, classes, loaded, options)
            step.advance(len(group))
    finally:
        step.finish()
    return Predictions(tuple(made), tuple(failed))


def _groups(pictures: Sequence[Picture], size: int) -> Iterator[Sequence[Picture]]:
    return (pictures[start : start + size] for start in range(0, len(pictures), size))


def _load(group: Sequence[Picture], failed: list[Failure]) -> Iterator[Loaded]:
    for picture in group:
        try:
            yield Loaded(picture, NamedImage(str(picture.path), load_image(picture.path)))
        except InputError as error:
            failed.append(Failure(picture.path, error))


def _classify(
    prepared: PreparedRunner,
    classes: ClassSet,
    loaded: Sequence[Loaded],
    options: PredictOptions,
) -> Iterator[Prediction]:
    batch = probabilities(prepared, [image for _, image in loaded], options.fit)
    for (picture, _), shares in zip(loaded, batch, strict=True):
        best = np.argsort(-shares, kind="stable")[:TOP].tolist()
        likeliest = (TopPrediction(classes.names[i], i, float(shares[i])) for i in best)
        yield Prediction(picture.path, likeliest=tuple(likeliest))


def _segment(
    prepared: PreparedRunner,
    classes: ClassSet,
    loaded: Sequence[Loaded],
    options: PredictOptions,
) -> Iterator[Prediction]:
    images = [image for _, image in loaded]
    sizes = [ImageSize(*image.pixels.shape[:2]) for image in images]
    maps = label_maps(prepared, images, sizes, options.fit, len(classes))
    for (picture, image), labels in zip(loaded, maps, strict=True):
        yield _write(picture, image.pixels, labels, classes, options)


def _write(
    picture: Picture, pixels: Pixels, labels: Labels, classes: ClassSet, options: PredictOptions
) -> Prediction:
    """Write both pictures of a prediction, whole or not at all."""
    overlay = options.out / f"{picture.name}-overlay.png"
    indices = options.out / f"{picture.name}-labels.png"
    with staging(overlay) as folder:
        draw_overlay(pixels, labels, classes, options.alpha).save(folder / overlay.name)
        index_image(labels, classes).save(folder / indices.name)
    shares = {entry.name: entry.share for entry in entries_of(labels, classes)}
    return Prediction(picture.path, overlay, indices, shares)
