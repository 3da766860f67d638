"""What quantizing each product alone does to the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hrvit_deploy.artefact import Manifest, Network
from hrvit_deploy.classes import choose_classes
from hrvit_deploy.datasets import VOID, LabelOrientation
from hrvit_deploy.errors import InputError
from hrvit_deploy.images import NamedImage, load_turned
from hrvit_deploy.inference.labels import Labels, labels_of
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix
from hrvit_deploy.measure.accuracy.evaluate import (
    EvaluateOptions,
    evaluate,
    labelled_data,
    labels_for,
)
from hrvit_deploy.measure.accuracy.ranking_file import (
    FLOAT,
    Measurement,
    RankingFile,
    measurement_of,
)
from hrvit_deploy.measure.parity.errors import Agreement, Errors
from hrvit_deploy.options import Group, ImageSize, OutputFormat, Task
from hrvit_deploy.progress import Progress
from hrvit_deploy.quantization.products import Product
from hrvit_deploy.quantization.switches import SWITCHES
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs, Runner
from hrvit_deploy.standalone.orientation import UPRIGHT

METRICS = {Task.SEGMENT: "miou", Task.CLASSIFY: "top1"}


class Labelled(NamedTuple):
    """An image and, where it is known, what is where in it.

    Attributes:
        labels: ``1 x H x W`` or ``1`` class indices at the network's size, -1 where nobody
            knows; or None.
    """

    image: NamedImage
    labels: Labels | None = None


@dataclass(frozen=True)
class Damage:
    """What one product loses to eight bits, all others in float.

    Attributes:
        name: Of its node.
        group: Of products it is of.
        cosine: Of the outputs with those of the float graph, all elements as one vector.
        agreement: Share of pixels, or images, that keep their class.
        score: The task's metric, mIoU or top-1, where there are labels.
    """

    name: str
    group: Group
    cosine: float
    agreement: float
    score: float | None = None


@dataclass(frozen=True)
class Sensitivity:
    """Every product's damage, the worst first, beside the float graph's score.

    Attributes:
        metric: ``miou`` or ``top1``; empty without labels.
    """

    damages: tuple[Damage, ...]
    images: int
    metric: str = ""
    reference: float | None = None


class SwitchedRunner(Closing):
    """A graph with switches, some of them on."""

    def __init__(self, runner: Runner, count: int) -> None:
        self.name, self.device = runner.name, runner.device
        self.settings: dict[str, Any] = runner.settings
        self.on: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self._runner = runner

    def run(self, inputs: Inputs) -> Outputs:
        """Run one batch with the switches as they are; see the protocol."""
        return self._runner.run({**inputs, SWITCHES: self.on})

    def close(self) -> None:
        """Close the runner inside."""
        self._runner.close()


class _Counts:
    """What is gathered of one setting of the switches."""

    def __init__(self, num_classes: int) -> None:
        self.errors, self.agreement = Errors(), Agreement()
        self.confusion = ConfusionMatrix(num_classes)

    def add(self, measured: Measurement) -> None:
        """Add what was measured on one image."""
        self.errors.add_sums(measured.errors)
        self.agreement.add_cells(measured.agreement)
        for row, column, count in measured.confusion:
            if row < 0:
                self.confusion.undecided[column] += count
            else:
                self.confusion.counts[row, column] += count


def measure_sensitivity(
    manifest: Manifest,
    runner: SwitchedRunner,
    products: Sequence[Product],
    images: Sequence[Labelled],
    progress: Progress,
    *,
    resume_file: RankingFile | None = None,
) -> Sensitivity:
    """Switch on one product after another and compare with the float graph.

    Args:
        manifest: Of the float graph.
        runner: Of its switched form, a switch for each product.
        products: In the order of the switches.
        images: Real ones; each goes through the network once for every product.
        progress: Advanced once an image and product.
        resume_file: Where measurements of a broken-off ranking may lie, and where these are
            kept; nowhere by default.

    Raises:
        ArtefactError: Measurements cannot be kept.
        InputError: No images.
    """
    if not images:
        raise InputError("there is no image to measure on", "give a folder with --images DIR")
    prepared = replace(PreparedRunner.of(manifest, runner), batch=manifest.inputs[0].batch or 1)
    classes = manifest.network.num_classes
    resume_file = resume_file or RankingFile(None)
    known = resume_file.load(progress)
    resume_file.begin(known)
    gathered = {name: _Counts(classes) for name in (FLOAT, *(p.name for p in products))}
    step = progress.start("Quantizing one product at a time", len(images) * len(products))
    try:
        for index, labelled in enumerate(images):
            reference: NDArray[Any] | None = None
            for place, name in enumerate(gathered):
                measured = known.get((name, index))
                if measured is None:
                    if reference is None:
                        runner.on[:] = False
                        reference = _answer(prepared, labelled.image)
                    on = np.arange(len(products)) == place - 1
                    counts = _measure(prepared, on, labelled, reference, classes)
                    measured = measurement_of(
                        name, index, counts.errors, counts.agreement, counts.confusion
                    )
                    resume_file.add(measured)
                gathered[name].add(measured)
                if name != FLOAT:
                    step.advance()
    finally:
        step.finish()
    task = manifest.network.known_task
    floats = gathered.pop(FLOAT)
    every = tuple(gathered.values())
    if all(labelled.labels is None for labelled in images):
        return Sensitivity(_ranked(products, every, None), len(images))
    return Sensitivity(
        _ranked(products, every, task), len(images), METRICS[task], _score(floats, task)
    )


def _measure(
    prepared: PreparedRunner,
    on: NDArray[np.bool_],
    labelled: Labelled,
    reference: NDArray[Any],
    classes: int,
) -> _Counts:
    """Measure one setting of the switches on one image."""
    counts = _Counts(classes)
    output = reference
    if on.any():
        _switches(prepared).on[:] = on
        output = _answer(prepared, labelled.image)
    _add(counts, prepared, output, reference, labelled.labels)
    return counts


def _answer(prepared: PreparedRunner, image: NamedImage) -> NDArray[Any]:
    return next(prepared.outputs([image]))


def _add(
    counts: _Counts,
    prepared: PreparedRunner,
    output: NDArray[Any],
    reference: NDArray[Any],
    truth: Labels | None,
) -> None:
    size = prepared.preparation.size
    labels = labels_of(output, prepared.output_format, size)
    if prepared.output_format is not OutputFormat.CLASSMAP:
        counts.errors.add("", output, reference)
    counts.agreement.add(labels, labels_of(reference, prepared.output_format, size))
    if truth is not None:
        counts.confusion.add(truth, labels, ignore_index=-1)


def _ranked(
    products: Sequence[Product], gathered: Sequence[_Counts], task: Task | None
) -> tuple[Damage, ...]:
    damages = [
        Damage(
            product.name,
            product.group,
            counts.errors.cosine if counts.errors.count else counts.agreement.share,
            counts.agreement.share,
            _score(counts, task) if task else None,
        )
        for product, counts in zip(products, gathered, strict=True)
    ]
    return tuple(sorted(damages, key=lambda damage: (damage.cosine, damage.agreement)))


def _score(counts: _Counts, task: Task) -> float:
    confusion = counts.confusion
    return confusion.miou if task is Task.SEGMENT else confusion.accuracy


def labelled_images(
    data: Path,
    network: Network,
    size: ImageSize,
    count: int,
    options: EvaluateOptions | None = None,
) -> Iterator[Labelled]:
    """Yield so many images of a labelled set, spread evenly over it.

    Args:
        data: Laid out as :mod:`hrvit_deploy.datasets` knows.
        network: What is to be judged by them.
        size: Of the network's input; label maps are brought to it, nearest.
        count: How many at most.
        options: How labels are read; by default as their layout says.

    Raises:
        InputError: The labels are for another task, or of more classes.
    """
    options = options or EvaluateOptions()
    dataset = labelled_data(data, network, options.layout, options.classes)
    dataset.first_label(options.labels_from)
    drawn_as_stored = options.labels is LabelOrientation.STORED
    for sample in dataset.chosen(count):
        pixels, orientation = load_turned(sample.image)
        image = NamedImage(sample.image.name, pixels)
        if sample.labels is None:
            yield Labelled(image, np.array([sample.label], np.int32))
            continue
        stored = labels_for(
            sample,
            image,
            dataset.layout,
            options.ignore_index,
            network.num_classes,
            labels_from=options.labels_from,
            orientation=orientation if drawn_as_stored else UPRIGHT,
        ).clip(min=VOID)
        resized = Image.fromarray(stored).resize(
            (size.width, size.height), Image.Resampling.NEAREST
        )
        yield Labelled(image, np.asarray(resized, np.int32)[None])


def agreement_of(
    prepared: PreparedRunner, on: Sequence[bool], images: Iterable[NamedImage]
) -> float:
    """Measure how far a setting of the switches leaves decisions as they are.

    Args:
        prepared: Around a :class:`SwitchedRunner`.
        on: Which products are quantized.
        images: To decide on.

    Returns:
        Mean intersection over union with the float graph's, over the classes it decides.
    """
    runner = _switches(prepared)
    agreement = Agreement()
    for image in images:
        outputs = []
        for flags in ([False] * len(on), on):
            runner.on[:] = flags
            output = _answer(prepared, image)
            outputs.append(labels_of(output, prepared.output_format, prepared.preparation.size))
        agreement.add(outputs[1], outputs[0])
    return agreement.by_class


def score_of(
    network: Network,
    prepared: PreparedRunner,
    on: Sequence[bool],
    data: Path,
    options: EvaluateOptions,
    *,
    progress: Progress,
) -> float:
    """Measure mIoU or top-1 of a setting of the switches on labelled images.

    Args:
        network: What it computes.
        prepared: Around a :class:`SwitchedRunner`.
        on: Which products are quantized.
        data: Laid out as :mod:`hrvit_deploy.datasets` knows.
        options: What to judge.
        progress: Advanced once an image.
    """
    dataset = labelled_data(data, network, options.layout, options.classes)
    classes = choose_classes(network, options.classes, data, dataset.classes)
    _switches(prepared).on[:] = on
    return evaluate(prepared, dataset, classes, options, progress).score


def _switches(prepared: PreparedRunner) -> SwitchedRunner:
    assert isinstance(prepared.runner, SwitchedRunner)
    return prepared.runner
