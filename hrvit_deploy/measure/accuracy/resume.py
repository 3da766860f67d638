"""The counts of an evaluation, kept in a file so that an interrupted one goes on."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hrvit_deploy.datasets import BEFORE_FIRST, VOID, Dataset
from hrvit_deploy.encoding import encode_json
from hrvit_deploy.inference.labels import Labels
from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix
from hrvit_deploy.progress import Progress
from hrvit_deploy.staging import staging

# Between two writes; an interrupt writes at once, so this is lost to a killed process.
SAVE_SECONDS = 5.0


class RunningCounts:
    """What was counted so far.

    Attributes:
        confusion: Of pixels, or of images.
        top5: Images whose class is among the five likeliest.
        images: How many were judged.
        turned: How many of them EXIF turned.
        stretch: Largest change of an image's shape on its way to the input, as a factor.
        unlabelled: ``C`` predicted classes of pixels whose label lies before the first.
        whole: Whether no counting was broken off half-way.
    """

    def __init__(self, classes: int) -> None:
        self.confusion = ConfusionMatrix(classes)
        self.top5 = 0
        self.images = 0
        self.turned = 0
        self.stretch = 1.0
        self.unlabelled = np.zeros(classes, np.int64)
        self.whole = True

    def add_maps(self, truths: Sequence[Labels], predicted: Sequence[Labels]) -> None:
        """Count some images: ``H x W`` labels, marked, and the predicted ones of each."""
        self.whole = False
        classes = len(self.unlabelled)
        for truth, output in zip(truths, predicted, strict=True):
            self.confusion.add(truth.clip(min=VOID), output, VOID)
            before = output[truth == BEFORE_FIRST]
            known = before[(before >= 0) & (before < classes)]
            self.unlabelled += np.bincount(known, minlength=classes)
        self.images += len(truths)
        self.whole = True

    def add_images(self, truths: Sequence[int], ranked: Sequence[Labels]) -> None:
        """Count some images of one class: which, and the likeliest ones, best first."""
        self.whole = False
        for truth, likeliest in zip(truths, ranked, strict=True):
            self.confusion.add(np.array([truth]), likeliest[:1], VOID)
            self.top5 += int(truth in likeliest)
        self.images += len(truths)
        self.whole = True

    @property
    def mean_accuracy(self) -> float:
        """The mean over the classes that occur of the share of each that is right."""
        counts = self.confusion.counts
        occurring = counts.sum(axis=1) + self.confusion.undecided
        right = np.diag(counts)[occurring > 0] / occurring[occurring > 0]
        return float(right.mean()) if len(right) else float("nan")


def key_of(dataset: Dataset, samples: int | None, **settings: Any) -> str:
    """Hash what counts belong to, data and settings, to hexadecimal digits.

    Images and labels count by name, size and time of change.
    """
    listing = []
    chosen = dataset.chosen(samples)
    for sample in chosen:
        for path in filter(None, (sample.image, sample.labels)):
            about = path.stat()
            name = path.relative_to(dataset.folder).as_posix()
            listing.append((name, about.st_size, about.st_mtime_ns))
    labels = [sample.label for sample in chosen]
    spoken = encode_json([listing, labels, settings])
    return hashlib.sha256(spoken).hexdigest()


class ResumeFile:
    """A file that holds a count until all is counted."""

    def __init__(
        self, path: Path | None, key: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep in ``path``, or nowhere; counts with another key are not taken up."""
        self._path, self._key, self._clock = path, key, clock
        self._saved = clock()

    def load(self, classes: int, progress: Progress) -> RunningCounts:
        """Load the counts to go on from; note where none fit, and start with none."""
        counts = RunningCounts(classes)
        if self._path is None or not self._path.exists():
            return counts
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                if str(stored["key"]) != self._key:
                    progress.note(
                        f"{self._path} is of another artefact, data or options: starting anew"
                    )
                    return counts
                counts.confusion.counts += stored["counts"]
                counts.confusion.undecided += stored["undecided"]
                numbers = (int(number) for number in stored["numbers"])
                counts.top5, counts.images, counts.turned = numbers
                counts.unlabelled += stored["unlabelled"]
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
            progress.note(f"{self._path} cannot be read: starting anew")
            return RunningCounts(classes)
        progress.note(f"going on after {counts.images} images, from {self._path}")
        return counts

    @contextmanager
    def keeping(self, counts: RunningCounts, progress: Progress) -> Iterator[None]:
        """Save the counts if what is done within is broken off, and say so."""
        try:
            yield
        except BaseException:
            if self._path is not None and counts.whole and counts.images:
                self.save(counts)
                progress.note(f"{counts.images} images are counted; the same command goes on")
            raise

    def save_if_due(self, counts: RunningCounts) -> None:
        """Save, if that is some seconds ago."""
        if self._clock() - self._saved >= SAVE_SECONDS:
            self.save(counts)

    def save(self, counts: RunningCounts) -> None:
        """Write the counts, whole or not at all.

        Raises:
            ArtefactError: They cannot be written.
        """
        if self._path is None:
            return
        # Of two that count the same, either may be gone on from.
        with (
            staging(self._path, lambda: True) as folder,
            (folder / self._path.name).open("wb") as file,
        ):
            np.savez(
                file,
                key=np.array(self._key),
                counts=counts.confusion.counts,
                undecided=counts.confusion.undecided,
                numbers=np.array([counts.top5, counts.images, counts.turned]),
                unlabelled=counts.unlabelled,
            )
        self._saved = self._clock()

    def remove(self) -> None:
        """Remove the file once all is counted."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
