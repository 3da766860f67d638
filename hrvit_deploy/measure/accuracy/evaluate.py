"""How good an artefact's outputs are, on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from hrvit_deploy.artefact import Artefact, Network, plain
from hrvit_deploy.classes import ClassSet, choose_classes, names_of
from hrvit_deploy.datasets import (
    FIRST_LABELS,
    Dataset,
    LabelOrientation,
    Layout,
    Sample,
    find_dataset,
    read_marked_labels,
)
from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.images import NamedImage, load_turned
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.labels import UNDECIDED, Labels
from hrvit_deploy.inference.open import open_prepared
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.accuracy.class_folders import match_folders
from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix
from hrvit_deploy.measure.accuracy.label_counting import doubt_counting, doubt_one_class
from hrvit_deploy.measure.accuracy.resume import ResumeFile, RunningCounts, key_of
from hrvit_deploy.options import ImageSize, Precision, Task
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import RunnerSpec, RunOptions
from hrvit_deploy.standalone.orientation import UPRIGHT, turn
from hrvit_deploy.version import VERSION

MIOU = "miou"
TOP1 = "top1"
TOP = 5
# Labels may be of another size than their image, but of its shape, give or take.
LARGEST_SKEW = 0.02
# A change of shape that is worth a note: photographs of 4:3 on a square input.
TOLD_STRETCH = 1.3


@dataclass(frozen=True)
class EvaluateOptions:
    """What to judge, and how images are looked at.

    Attributes:
        layout: Whose folders they are.
        fit: How an image becomes the input.
        samples: How many images at most, evenly spaced; None for all.
        ignore_index: A class that is not judged, beside what the set leaves unlabelled.
        classes: ``ade20k``, ``cityscapes`` or a file of names; empty for what there is.
        labels: What label maps are drawn on where EXIF turns their images; None for the
            turned picture, with a warning.
        labels_from: What label maps call the first class, 0 or 1; None for what the layout
            does.
    """

    layout: Layout = Layout.AUTO
    fit: FitOptions = field(default_factory=FitOptions)
    samples: int | None = None
    ignore_index: int = 255
    classes: str = ""
    labels: LabelOrientation | None = None
    labels_from: int | None = None

    def __post_init__(self) -> None:
        if self.labels_from not in (None, *FIRST_LABELS):
            raise UsageError(
                f"no label map calls its first class {self.labels_from}",
                "count labels from 0 or from 1, or leave that to their layout",
            )


@dataclass(frozen=True)
class Evaluation:
    """What came of it; figures are shares from 0 to 1.

    Attributes:
        metric: The figure that counts: ``miou`` or ``top1``.
        figures: All of them by name: ``miou``, ``mean_accuracy`` and ``pixel_accuracy``,
            or ``top1`` and ``top5``.
        images: How many were judged.
        runner: What ran the artefact.
        layout: Of the data.
        classes: Names and colours, in the order of the confusion matrix.
        confusion: Of pixels, or of images.
        iou: Of each class by name, None where it neither is nor was predicted; empty for
            a classifier.
        turned: How many of the images EXIF turned.
        doubt: Why the figures are likely not the network's but those of labels read
            wrongly, and the option to give; None where nothing says so.
    """

    metric: str
    figures: dict[str, float]
    images: int
    runner: str
    layout: Layout
    classes: ClassSet
    confusion: ConfusionMatrix
    iou: dict[str, float | None] = field(default_factory=dict)
    turned: int = 0
    doubt: str | None = None

    @property
    def score(self) -> float:
        """The figure that counts."""
        return self.figures[self.metric]

    @property
    def constant(self) -> float:
        """What that figure is for the best answer of one class everywhere."""
        confusion = self.confusion
        return confusion.constant_miou if self.metric == MIOU else confusion.constant_accuracy


def evaluate_artefact(
    artefact: Artefact,
    data: Path,
    options: EvaluateOptions,
    progress: Progress,
    *,
    run: RunOptions = RunOptions(),
    state: Path | None = None,
) -> Evaluation:
    """Measure how good an artefact is, or the network it came from, on labelled images.

    A float16 graph in onnxruntime on a CPU is rounded as it says, so that it is measured
    as what it is.

    Args:
        artefact: The graph or plan.
        data: Folder of ADE20K, Cityscapes or ImageNet.
        options: What to judge, and how images are looked at.
        progress: Advanced once an image.
        run: How it is run.
        state: File that keeps the counts until all images are counted, so that an
            interrupted run goes on.

    Raises:
        InputError: The data are laid out in no known way, or for another task.
    """
    manifest = artefact.manifest
    dataset = labelled_data(data, manifest.network, options.layout, options.classes)
    classes = choose_classes(manifest.network, options.classes, data, dataset.classes)
    spec = RunnerSpec(artefact, replace(run, round_tensors=True))
    # Where the artefact lies and what classes are called changes no count.
    how = (spec.kind, run.provider, run.inference_precision)
    about = (manifest.sha256, *how, replace(options, classes=""))
    key = key_of(dataset, options.samples, about=plain((VERSION, about))) if state else ""
    with open_prepared(spec) as prepared:
        resume_file = ResumeFile(state, key)
        evaluation = evaluate(
            prepared, dataset, classes, options, progress, resume_file=resume_file
        )
    narrow = manifest.float_type in (Precision.FP16, Precision.BF16)
    if spec.emulates and narrow:
        return replace(
            evaluation,
            runner=f"{evaluation.runner}, every {manifest.float_type} tensor rounded",
        )
    return evaluation


def labelled_data(
    data: Path, network: Network, layout: Layout = Layout.AUTO, classes: str = ""
) -> Dataset:
    """Find the data set in a folder, if that network can be evaluated on it.

    Raises:
        InputError: It is laid out in no known way, for another task, or has more classes.
    """
    task = network.known_task
    dataset = find_dataset(data, layout)
    if dataset.task is not task:
        raise InputError(
            f"{data} is laid out as {dataset.layout}, to {dataset.task}, and the network is"
            f" one to {task}",
            f"give labelled data to {task} with",
        )
    if dataset.task is Task.CLASSIFY:
        names = names_of(network, classes, data)
        return match_folders(dataset, names, network.num_classes)
    return dataset


def evaluate(
    prepared: PreparedRunner,
    dataset: Dataset,
    classes: ClassSet,
    options: EvaluateOptions,
    progress: Progress,
    *,
    resume_file: ResumeFile | None = None,
) -> Evaluation:
    """Judge an artefact's outputs by the labels of a data set.

    Args:
        prepared: What outputs.
        dataset: Its labels are for the task of that network.
        classes: Of the network.
        options: What to judge; the data set is already the one it speaks of.
        progress: Advanced once an image.
        resume_file: Where the counts of an earlier, interrupted run may lie, and where these
            are kept until all images are judged; nowhere by default.

    Raises:
        InputError: Labels and network do not fit, an image or its labels are broken, or
            nothing is labelled.
        RunnerError: The runner failed.
    """
    options.fit.check_task(dataset.task)
    check_classes(dataset, len(classes))
    for note in dataset.notes:
        progress.warn(note)
    first = dataset.first_label(options.labels_from)
    samples = dataset.chosen(options.samples)
    resume_file = resume_file or ResumeFile(None, "")
    counts = resume_file.load(len(classes), progress)
    step = progress.start(f"Evaluating {prepared.runner.name}", len(samples))
    step.advance(counts.images)
    try:
        with resume_file.keeping(counts, progress):
            for group in _groups(samples[counts.images :], prepared.batch):
                _judge(prepared, dataset, group, options, counts)
                step.advance(len(group))
                resume_file.save_if_due(counts)
    finally:
        step.finish()
    if not counts.confusion.total:
        raise InputError(
            f"none of the {counts.images} images has a labelled pixel",
            "check --layout, --labels-from and --ignore-index; 255 counts as unlabelled, so a"
            " class drawn as 255 needs its own number",
        )
    resume_file.remove()
    if counts.turned and dataset.task is Task.SEGMENT:
        _tell_turned(counts, options.labels, progress)
    if counts.stretch > TOLD_STRETCH:
        progress.note(
            f"images are stretched by up to {counts.stretch:.2f} to"
            f" {prepared.preparation.size}; --fit pad keeps their shape, as does --fit slide"
        )
    evaluation = _evaluation(prepared, dataset, classes, counts)
    doubt = doubt_counting(counts.confusion, counts.unlabelled, first)
    if doubt is None and dataset.task is Task.SEGMENT:
        doubt = doubt_one_class(counts.confusion)
    return replace(evaluation, doubt=doubt)


def _tell_turned(
    counts: RunningCounts, labels: LabelOrientation | None, progress: Progress
) -> None:
    """Say how many images EXIF turned, and warn where nobody said how their labels lie."""
    told = f"{counts.turned} of {counts.images} images are turned by their EXIF orientation"
    if labels is None:
        progress.warn(
            f"{told}; their labels are taken for drawn on the turned picture: say"
            " --labels stored if they are drawn on the stored pixels, else --labels turned"
        )
    else:
        progress.note(f"{told}, and their labels are drawn on the {labels} pixels")


def check_classes(dataset: Dataset, count: int) -> None:
    """Refuse more classes than the network knows.

    Raises:
        InputError: There are.
    """
    if len(dataset.classes) > count:
        raise InputError(
            f"{dataset.folder} has {len(dataset.classes)} folders of classes, the network"
            f" tells {count} apart",
            "evaluate on the classes it was trained on",
        )


def _groups(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    iterator = iter(samples)
    while group := list(islice(iterator, size)):
        yield group


def _judge(
    prepared: PreparedRunner,
    dataset: Dataset,
    group: Sequence[Sample],
    options: EvaluateOptions,
    counts: RunningCounts,
) -> None:
    """Answer some images, then count them."""
    loaded = [load_turned(sample.image) for sample in group]
    images = [
        NamedImage(str(sample.image), pixels)
        for sample, (pixels, _) in zip(group, loaded, strict=True)
    ]
    turns = [orientation for _, orientation in loaded]
    turned = sum(orientation != UPRIGHT for orientation in turns)
    if options.fit.fit is Fit.STRETCH:
        shapes = [_stretch(image, prepared.preparation.size) for image in images]
        counts.stretch = max(counts.stretch, *shapes)
    if dataset.task is Task.CLASSIFY:
        ranked = [_ranked(scores) for scores in probabilities(prepared, images, options.fit)]
        counts.add_images([sample.label for sample in group], ranked)
        counts.turned += turned
        return
    classes = len(counts.confusion.counts)
    stored = options.labels is LabelOrientation.STORED
    maps = [
        labels_for(
            sample,
            image,
            dataset.layout,
            options.ignore_index,
            classes,
            orientation=orientation if stored else UPRIGHT,
            labels_from=options.labels_from,
        )
        for sample, image, orientation in zip(group, images, turns, strict=True)
    ]
    sizes = [ImageSize(*labels.shape) for labels in maps]
    counts.add_maps(maps, list(label_maps(prepared, images, sizes, options.fit, classes)))
    counts.turned += turned


def _stretch(image: NamedImage, size: ImageSize) -> float:
    """Return by how much an image's shape changes where it is resized to that size."""
    height, width = image.pixels.shape[:2]
    ratio: float = height * size.width / (width * size.height)
    return max(ratio, 1 / ratio)


def _ranked(scores: np.ndarray) -> Labels:
    """Return the likeliest classes, best first; -1 where a probability is not finite."""
    if not np.isfinite(scores).all():
        return np.array([UNDECIDED], np.int32)
    return np.argsort(-scores, kind="stable")[:TOP].astype(np.int32)


def labels_for(
    sample: Sample,
    image: NamedImage,
    layout: Layout,
    ignore_index: int,
    classes: int,
    *,
    orientation: int = UPRIGHT,
    labels_from: int | None = None,
) -> Labels:
    """Read the class of each pixel; check it with image and network.

    Labels that are drawn on the stored pixels are turned by ``orientation``, from 1 to 8, as
    the image was.

    Returns:
        ``H x W``, as :func:`read_marked_labels` has it: below 0 where none counts.

    Raises:
        InputError: They are of another shape than the image, or of more classes.
    """
    marked = read_marked_labels(sample, layout, ignore_index, labels_from)
    labels = turn(marked, orientation)
    height, width = image.pixels.shape[:2]
    skew = labels.shape[0] * width / (labels.shape[1] * height)
    if abs(skew - 1) > LARGEST_SKEW:
        raise InputError(
            f"{sample.labels} has {labels.shape[0]}x{labels.shape[1]} labels for an image of"
            f" {height}x{width}",
            "give the labels of that image; where EXIF turns it and they are drawn on the"
            " stored pixels, add --labels stored",
        )
    if labels.max() >= classes:
        raise InputError(
            f"{sample.labels} holds class {labels.max()}, the network tells {classes} apart"
            " (0 the first)",
            "check --layout, count labels from 1 with --labels-from 1, or name a class that is"
            " not to be judged with --ignore-index",
        )
    return labels


def _evaluation(
    prepared: PreparedRunner, dataset: Dataset, classes: ClassSet, counts: RunningCounts
) -> Evaluation:
    confusion = counts.confusion
    iou: dict[str, float | None] = {}
    if dataset.task is Task.CLASSIFY:
        figures = {TOP1: confusion.accuracy, "top5": counts.top5 / counts.images}
    else:
        shares = (None if np.isnan(share) else float(share) for share in confusion.iou)
        iou = dict(zip(classes.names, shares, strict=True))
        figures = {
            MIOU: confusion.miou,
            "mean_accuracy": counts.mean_accuracy,
            "pixel_accuracy": confusion.accuracy,
        }
    return Evaluation(
        metric=TOP1 if dataset.task is Task.CLASSIFY else MIOU,
        figures=figures,
        images=counts.images,
        runner=prepared.runner.name,
        layout=dataset.layout,
        classes=classes,
        confusion=confusion,
        iou=iou,
        turned=counts.turned,
    )
