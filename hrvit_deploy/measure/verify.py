"""Whether a candidate answers as a reference does, on real images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from hrvit_deploy.artefact import Manifest, Parity, Preparation
from hrvit_deploy.errors import InputError, RunnerError
from hrvit_deploy.images import NamedImage, prepare, stack
from hrvit_deploy.measure.gates import Gates
from hrvit_deploy.measure.labels import labels_of
from hrvit_deploy.measure.parity import Agreement, Errors, judge_labels, judge_scores
from hrvit_deploy.options import OutputFormat
from hrvit_deploy.progress import Progress, track
from hrvit_deploy.runners.memory import trim
from hrvit_deploy.runners.protocol import Runner

# Of a dynamic batch: more than one, lest a graph that only takes one, or answers every
# image with the first one's scores, pass.
DYNAMIC_BATCH = 2


@dataclass(frozen=True)
class Side:
    """One of the two that are compared, and how to talk to it.

    Attributes:
        runner: Open, and left open.
        preparation: How an image becomes its input.
        output_format: What it returns.
        input: Name of its input.
        input_dtype: Type of its input, where that is floating.
        output: Name of the output to compare.
        batch: Images per run; the last batch is filled up with its last image.
    """

    runner: Runner
    preparation: Preparation
    output_format: OutputFormat
    input: str = "image"
    input_dtype: str = "float32"
    output: str = "logits"
    batch: int = 1

    def answers(self, images: Sequence[NamedImage]) -> Iterator[NDArray[Any]]:
        """The answer to each image, as a batch of one.

        Raises:
            RunnerError: The runner failed, or returned something else than its sidecar
                says.
        """
        for start in range(0, len(images), self.batch):
            group = images[start : start + self.batch]
            prepared = [
                prepare(image.pixels, self.preparation, self.input_dtype) for image in group
            ]
            prepared += prepared[-1:] * (self.batch - len(group))
            outputs = self.runner.run({self.input: stack(prepared)})
            answer = outputs.get(self.output)
            if answer is None or len(answer) != self.batch:
                raise RunnerError(
                    f"{self.runner.name} returned no {self.output!r} of {self.batch} images",
                    f"it returned {', '.join(outputs)}; export or build the artefact again",
                )
            yield from (answer[index : index + 1] for index in range(len(group)))


def side_of(manifest: Manifest, runner: Runner) -> Side:
    """How to talk to the runner of an artefact, as its sidecar says."""
    taken, returned = manifest.inputs[0], manifest.outputs[0]
    return Side(
        runner,
        manifest.preparation,
        manifest.output_format,
        input=taken.name,
        input_dtype=taken.dtype,
        output=returned.name,
        batch=taken.batch or DYNAMIC_BATCH,
    )


def verify(
    candidate: Side,
    reference: Side,
    images: Iterable[NamedImage],
    gates: Gates,
    progress: Progress,
    *,
    total: int | None = None,
) -> Parity:
    """Run both on the same images, each prepared its own way, and compare.

    Scores are compared in numbers and in what they decide. If either side returns a class
    map, or the two return different formats, only the decisions are.

    Args:
        candidate: What is to be trusted.
        reference: What is trusted.
        images: Taken one by one; nothing but sums is kept of them.
        gates: What the comparison must keep.
        progress: Advanced once an image.
        total: How many images there will be, if that is known.

    Returns:
        The measurements, and whether they are within the gates.

    Raises:
        InputError: No images, or answers that cannot be compared.
        RunnerError: A runner failed.
    """
    if candidate.preparation.size != reference.preparation.size:
        raise InputError(
            f"{candidate.runner.name} takes images of {candidate.preparation.size},"
            f" {reference.runner.name} of {reference.preparation.size}",
            "compare artefacts of one size",
        )
    errors, agreement = Errors(), Agreement()
    subtract = _can_subtract(candidate, reference)
    followed = track(progress, f"Comparing with {reference.runner.name}", images, total)
    count = 0
    for group in _groups(followed, max(candidate.batch, reference.batch)):
        count += len(group)
        trim()
        _compare(candidate, reference, group, errors if subtract else None, agreement)
    if not count:
        raise InputError("there is no image to compare on", "give a folder with --images DIR")
    if subtract:
        return judge_scores(errors, agreement, gates, reference.runner.name, count)
    return judge_labels(agreement, gates, reference.runner.name, count)


def _compare(
    candidate: Side,
    reference: Side,
    images: Sequence[NamedImage],
    errors: Errors | None,
    agreement: Agreement,
) -> None:
    """One batch of images through both.

    What answers large images fill is gone before the next batch. The reference goes first:
    eager PyTorch needs the most memory while it runs, and holds nothing of it afterwards.
    """
    pairs = zip(reference.answers(images), candidate.answers(images), strict=True)
    for image, (theirs, ours) in zip(images, pairs, strict=True):
        if errors is not None:
            errors.add(image.name, ours, theirs)
        agreement.add(_labels(candidate, ours), _labels(reference, theirs))


def _can_subtract(candidate: Side, reference: Side) -> bool:
    formats = {candidate.output_format, reference.output_format}
    return len(formats) == 1 and OutputFormat.CLASSMAP not in formats


def _labels(side: Side, answer: NDArray[Any]) -> Any:
    return labels_of(answer, side.output_format, side.preparation.size)


def _groups(images: Iterable[NamedImage], size: int) -> Iterator[list[NamedImage]]:
    iterator = iter(images)
    while group := list(islice(iterator, size)):
        yield group
