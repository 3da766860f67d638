"""Labelled images as the well-known sets lay them out in folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.image_files import is_hidden, list_folder, passed_over_note
from hrvit_deploy.options import Task
from hrvit_deploy.standalone.decode import SUFFIXES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# In label maps: nothing is to be judged here.
VOID = -1
# The same, where a label of 0 says so because classes are counted from 1.
BEFORE_FIRST = -2
# What sets write into eight bits for that.
UNLABELLED = 255
# What label maps call the first class.
FIRST_LABELS = (0, 1)
# Cityscapes' label ids that are judged; where each stands is its train id.
# cityscapesScripts, helpers/labels.py.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITY_IMAGE = "_leftImg8bit.png"
# The first is taken where both are there.
CITY_LABELS = ("_gtFine_labelTrainIds.png", "_gtFine_labelIds.png")


class Layout(StrEnum):
    """Whose folders; ``auto`` finds out."""

    AUTO = "auto"
    ADE20K = "ade20k"
    CITYSCAPES = "cityscapes"
    IMAGENET = "imagenet"


class LabelOrientation(StrEnum):
    """What label maps are drawn on where EXIF turns their images."""

    STORED = "stored"
    TURNED = "turned"


TASKS = {
    Layout.ADE20K: Task.SEGMENT,
    Layout.CITYSCAPES: Task.SEGMENT,
    Layout.IMAGENET: Task.CLASSIFY,
}


@dataclass(frozen=True)
class Sample:
    """An image and the truth about it: a file of labels, or a class.

    Attributes:
        labels: None for an image of one class.
        label: That class; -1 with a file of labels.
    """

    image: Path
    labels: Path | None = None
    label: int = VOID


@dataclass(frozen=True)
class Dataset:
    """Labelled images, in the order of their paths.

    Attributes:
        folder: Where it was found.
        classes: Names of class folders, sorted: the first is class 0. Empty for maps.
        notes: What is to be said of files that were passed over.
    """

    folder: Path
    layout: Layout
    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What such labels judge."""
        return TASKS[self.layout]

    def chosen(self, count: int | None) -> tuple[Sample, ...]:
        """Choose at most so many samples, evenly spaced, the same for all who ask.

        Args:
            count: None for all.
        """
        from hrvit_deploy.images import spaced

        return self.samples if count is None else tuple(spaced(list(self.samples), count))

    @property
    def has_label_ids(self) -> bool:
        """Whether labels are Cityscapes' label ids, whose classes a table counts."""
        return any(_is_label_ids(sample) for sample in self.samples)

    def first_label(self, labels_from: int | None) -> int | None:
        """Return what label maps call the first class; None where a table says it.

        Raises:
            UsageError: ``labels_from`` is given, and there is nothing to count.
        """
        if self.task is Task.CLASSIFY or self.has_label_ids:
            if labels_from is not None:
                what = "folders" if self.task is Task.CLASSIFY else "label ids"
                raise UsageError(
                    f"{self.folder} has its classes as {what}, which are not counted",
                    "leave --labels-from out",
                )
            return None
        if labels_from is None:
            return int(self.layout is Layout.ADE20K)
        return labels_from


def find_dataset(folder: Path, layout: Layout = Layout.AUTO) -> Dataset:
    """Find the validation images of a set and their labels.

    Args:
        folder: ADE20K's (``images/validation`` and ``annotations/validation``),
            Cityscapes' (``leftImg8bit/val`` and ``gtFine/val``), or one with a folder
            a class, itself or in ``val``.
        layout: Which of these; ``auto`` takes the first that is there.

    Raises:
        InputError: There is no such folder, no such layout, no image, or an image has no
            labels.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "give the data set's with --data")
    if layout is Layout.AUTO:
        layout = _detect(folder)
    match layout:
        case Layout.ADE20K:
            return _ade20k(folder)
        case Layout.CITYSCAPES:
            return _cityscapes(folder)
        case _:
            return _imagenet(folder)


def _detect(folder: Path) -> Layout:
    if (folder / "images" / "validation").is_dir():
        return Layout.ADE20K
    if (folder / "leftImg8bit" / "val").is_dir():
        return Layout.CITYSCAPES
    if any(_images(child) for child in _class_folders(folder)):
        return Layout.IMAGENET
    raise InputError(
        f"{folder} is laid out like no set known here",
        "give the folder with images/validation (ADE20K), leftImg8bit/val (Cityscapes), or a"
        " folder of images a class (ImageNet)",
    )


def _ade20k(folder: Path) -> Dataset:
    images, labels = (folder / part / "validation" for part in ("images", "annotations"))
    pairs = {image: labels / f"{image.stem}.png" for image in _images(images)}
    return _paired(folder, Layout.ADE20K, images, pairs)


def _cityscapes(folder: Path) -> Dataset:
    images, labels = (folder / part / "val" for part in ("leftImg8bit", "gtFine"))
    pairs = {}
    for image in sorted(images.glob(f"*/*{CITY_IMAGE}")):
        stem = image.name.removesuffix(CITY_IMAGE)
        choices = [labels / image.parent.name / f"{stem}{suffix}" for suffix in CITY_LABELS]
        pairs[image] = next((path for path in choices if path.is_file()), choices[0])
    return _paired(folder, Layout.CITYSCAPES, images, pairs)


def _paired(folder: Path, layout: Layout, images: Path, pairs: dict[Path, Path]) -> Dataset:
    if not pairs:
        left_out = "".join(f"; {note}" for note in _left_out(images, layout, ()))
        raise InputError(
            f"there is no image in {images}{left_out}",
            f"give the folder of {layout} with --data",
        )
    missing = [labels for labels in pairs.values() if not labels.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(pairs)} images have no labels, first {missing[0]}",
            "unpack the annotations beside the images, or remove those images",
        )
    samples = tuple(Sample(*pair) for pair in pairs.items())
    notes = (*_left_out(images, layout, pairs), *_unpaired(set(pairs.values())))
    return Dataset(folder, layout, samples, notes=notes)


def _unpaired(used: set[Path]) -> Iterator[str]:
    """Yield a line that counts the label maps beside those used whose image is not there."""
    endings = {path.name[path.name.find("_gtFine_") :] for path in used}
    cities = any(ending.startswith("_gtFine_") for ending in endings)
    others = [
        path
        for folder in {path.parent for path in used}
        for path in _images(folder)
        if path not in used and (not cities or path.name.endswith(tuple(endings)))
    ]
    if others:
        first = min(others)
        yield (
            f"{len(others)} of {len(used) + len(others)} label maps have no image:"
            f" {first}{', ...' if len(others) > 1 else ''}"
        )


def _folders(folder: Path) -> list[Path]:
    return [child for child in folder.iterdir() if child.is_dir() and not is_hidden(child)]


def _left_out(root: Path, layout: Layout, taken: Iterable[Path]) -> Iterator[str]:
    """Yield a line for pictures of other kinds below a folder, and one for images elsewhere."""
    try:
        listing = list_folder(root)
    except InputError:
        return
    if listing.passed_over:
        yield passed_over_note(listing.passed_over)
    others = sorted({*listing.images} - {*taken})
    if others:
        yield (
            f"{len(others)} {'image is' if len(others) == 1 else 'images are'} not where"
            f" {layout} has them, and left out: {others[0]}{', ...' if len(others) > 1 else ''}"
        )


def _imagenet(folder: Path) -> Dataset:
    root = folder / "val" if (folder / "val").is_dir() else folder
    classes = [child for child in _class_folders(folder) if child.parent == root]
    samples = [
        Sample(image, label=index)
        for index, child in enumerate(classes)
        for image in _images(child)
    ]
    if not samples:
        raise InputError(
            f"there is no folder with images in {root}", "give the one that holds the classes"
        )
    names = tuple(child.name for child in classes)
    notes = tuple(_left_out(root, Layout.IMAGENET, (sample.image for sample in samples)))
    return Dataset(folder, Layout.IMAGENET, tuple(samples), names, notes)


def _class_folders(folder: Path) -> list[Path]:
    root = folder / "val" if (folder / "val").is_dir() else folder
    return sorted(_folders(root))


def _images(folder: Path) -> list[Path]:
    """List the images right in a folder, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not is_hidden(path) and path.is_file()
    )


def read_labels(
    sample: Sample, layout: Layout, ignore_index: int = 255, labels_from: int | None = None
) -> NDArray[np.int32]:
    """Read the class of each pixel; see :func:`read_marked_labels`.

    Returns:
        ``H x W``; -1 where nothing is to be judged.

    Raises:
        InputError: The file cannot be read, or holds colours.
    """
    return read_marked_labels(sample, layout, ignore_index, labels_from).clip(min=VOID)


def _is_label_ids(sample: Sample) -> bool:
    return sample.labels is not None and sample.labels.name.endswith(CITY_LABELS[1])


def read_marked_labels(
    sample: Sample, layout: Layout, ignore_index: int = 255, labels_from: int | None = None
) -> NDArray[np.int32]:
    """Read the class of each pixel, and where counting from 1 leaves it unlabelled.

    Args:
        sample: One with a file of labels.
        layout: ADE20K counts its classes from 1 and leaves 0 unlabelled; Cityscapes'
            label ids become train ids.
        ignore_index: A class that is not judged either, counted from 0.
        labels_from: What the file calls the first class, 0 or 1; None for what the layout
            does. Label ids have no say in it.

    Returns:
        ``H x W``; -1 where nothing is to be judged, -2 where that is for a 0 before the
        first class.

    Raises:
        InputError: The file cannot be read, or holds colours.
    """
    assert sample.labels is not None
    stored = _read_indices(sample.labels)
    if _is_label_ids(sample):
        labels = _train_ids(stored)
    elif labels_from == 1 or (labels_from is None and layout is Layout.ADE20K):
        labels = stored - 1
        labels[stored == 0] = BEFORE_FIRST
    else:
        labels = stored.copy()
    labels[stored == UNLABELLED] = VOID
    labels[labels == ignore_index] = VOID
    return labels


def _train_ids(label_ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Map Cityscapes' label ids to the indices of the 19 that count."""
    import numpy as np

    table = np.full(max(int(label_ids.max()), *CITYSCAPES_IDS) + 1, VOID, np.int32)
    table[list(CITYSCAPES_IDS)] = range(len(CITYSCAPES_IDS))
    train_ids: NDArray[np.int32] = table[label_ids]
    return train_ids


def _read_indices(path: Path) -> NDArray[np.int32]:
    """Read a label map as it is stored, whatever number of bits a value has."""
    import numpy as np

    from hrvit_deploy.images import load_values

    try:
        stored, mode = load_values(path)
    except FileNotFoundError as error:
        raise InputError(f"there are no labels {path}", "restore the file") from error
    except InputError as error:
        raise InputError(f"the labels {error.message}", error.hint) from error
    if stored.ndim != 2 or stored.dtype.kind not in "ui":
        raise InputError(
            f"{path} holds no class indices but {mode}",
            "give maps of one channel of whole numbers, not the coloured ones",
        )
    return stored.astype(np.int32)
