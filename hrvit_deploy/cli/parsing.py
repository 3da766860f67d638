"""What options say together, as the objects that functions take."""

from __future__ import annotations

from pathlib import Path

from hrvit_deploy.cli.arguments import USUAL_COUNT
from hrvit_deploy.datasets import LabelOrientation
from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.inference.fit import Fit, FitOptions, parse_scales, parse_stride
from hrvit_deploy.measure.parity.gates import QUALITY, QualityLimits
from hrvit_deploy.model.variants import NetworkSpec, load_variant
from hrvit_deploy.options import (
    DEFAULT_GROUPS,
    DEFAULT_METHOD,
    CalibrationOptions,
    Group,
    Method,
    Precision,
    Task,
)
from hrvit_deploy.pipeline.quality_gate import QualityCriteria


def parse_network(
    variant: str | None,
    task: Task | None,
    checkpoint: Path | None,
    num_classes: int | None,
    *,
    seed: int = 0,
    entry: str | None = None,
    ignore_unexpected: bool = False,
) -> NetworkSpec:
    """Return the network to load; without a variant the checkpoint's.

    Raises:
        UsageError: There is no such variant, or no checkpoint to take an entry of.
    """
    if checkpoint is None and (entry is not None or ignore_unexpected):
        raise UsageError("there is no checkpoint to take weights of", "add --checkpoint FILE")
    known = load_variant(variant) if variant else None
    return NetworkSpec(known, task, checkpoint, num_classes, seed, entry, ignore_unexpected)


def parse_calibration(
    method: Method | None, images: Path | None, *, random_data: bool
) -> CalibrationOptions | None:
    """Return how to calibrate; None where no option says it.

    Raises:
        UsageError: Both images and noise are given.
    """
    check_random_data(images, random_data=random_data)
    if method is None and not random_data:
        return None
    return CalibrationOptions(method or DEFAULT_METHOD, random_data=random_data)


def check_random_data(images: Path | None, *, random_data: bool) -> None:
    """Refuse images and noise at once.

    Raises:
        UsageError: Both are given.
    """
    if random_data and images is not None:
        raise UsageError(
            "--images and --random-data contradict each other", "give one of the two"
        )


def parse_limits(
    precision: Precision, max_drop: float | None, min_agreement: float | None
) -> QualityLimits | None:
    """Return the limits of a quality gate, points as shares; None where none is given.

    Raises:
        UsageError: A limit that nothing can reach or miss.
    """
    if max_drop is None and min_agreement is None:
        return None
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise UsageError(
            f"nothing can lose {max_drop:g} points", "give points from 0 to 100, such as 0.5"
        )
    usual = QUALITY[precision]
    return QualityLimits(
        usual.drop if max_drop is None else max_drop / 100,
        usual.agreement if min_agreement is None else min_agreement,
    )


def parse_groups(extra: list[Group] | None, without: list[Group] | None) -> tuple[Group, ...]:
    """Return the usual kinds of products, with some more and without some."""
    wanted = {*DEFAULT_GROUPS, *(extra or ())} - set(without or ())
    return tuple(group for group in Group if group in wanted)


def parse_criteria(
    precision: Precision,
    data: Path | None,
    images: Path | None,
    samples: int | None,
    max_drop: float | None,
    min_agreement: float | None,
    *,
    usual_count: int | None = USUAL_COUNT,
    labels: LabelOrientation | None = None,
    labels_from: int | None = None,
    accept: bool = False,
) -> QualityCriteria:
    """Return what a graph's quality is checked on: labels, or images, or bundled ones.

    Args:
        precision: Of the graph.
        data: Labelled images.
        images: To compare on; None for ``calib/images/``, or without any there for crops of
            the bundled photographs.
        samples: Images at most.
        max_drop: Points of mIoU or top-1 the graph may lose.
        min_agreement: Least share of decisions that stay.
        usual_count: Images to compare on without ``samples``.
        labels: What label maps are drawn on where EXIF turns their images.
        labels_from: What label maps call the first class; None for what their layout does.
        accept: Whether what misses is taken all the same.

    Raises:
        InputError: The folder of images is not there.
        UsageError: A limit does not go with the data.
    """
    from hrvit_deploy.pipeline.quantize import holds_images
    from hrvit_deploy.quantization.calibration.images import DEFAULT_FOLDER

    if data is not None and min_agreement is not None:
        raise UsageError(
            "labelled images are judged by mIoU or top-1, not by agreement",
            "give --max-drop with --data, or leave --data out",
        )
    if data is None and max_drop is not None:
        raise UsageError(
            "there is no mIoU to drop without labelled images",
            "give them with --data DIR, or --min-agreement instead",
        )
    check_labels(data, labels, labels_from)
    if images is not None and not images.exists():
        raise InputError(f"there is no {images}", "check --images")
    folder = images
    if images is None and holds_images(DEFAULT_FOLDER):
        folder = DEFAULT_FOLDER
    if images is not None and images.suffix.lower() == ".npz":
        # Its arrays may be prepared already, for a graph of one type.
        folder = None
    return QualityCriteria(
        data,
        ImageSource(folder, samples or usual_count),
        samples,
        labels=labels,
        labels_from=labels_from,
        quality=parse_limits(precision, max_drop, min_agreement),
        remeasure=data is not None or images is not None,
        accept=accept,
    )


def check_labels(
    data: Path | None, labels: LabelOrientation | None, labels_from: int | None
) -> None:
    """Refuse what says how labels are read where there are none.

    Raises:
        UsageError: It is given, and no labelled images are.
    """
    if data is None and labels_from is not None:
        raise UsageError(
            "there are no labels to count without labelled images",
            "give them with --data DIR, or leave --labels-from out",
        )
    if data is None and labels is not None:
        raise UsageError(
            "there are no labels to turn without labelled images",
            "give them with --data DIR, or leave --labels out",
        )


def parse_fit(fit: Fit, stride: str | None, scales: str, *, flip: bool) -> FitOptions:
    """Return how an image becomes the input.

    Raises:
        UsageError: The options contradict each other.
    """
    steps = parse_stride(stride) if stride else None
    return FitOptions(fit, steps, flip, parse_scales(scales))
