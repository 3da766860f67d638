"""Whether a candidate outputs as a reference does, on real images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from hrvit_deploy.artefact import Parity
from hrvit_deploy.errors import InputError
from hrvit_deploy.images import NamedImage, is_plain
from hrvit_deploy.inference.labels import labels_of
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.parity.errors import (
    Agreement,
    Errors,
    compare_labels,
    compare_scores,
    worst,
)
from hrvit_deploy.measure.parity.gates import Gates
from hrvit_deploy.options import OutputFormat
from hrvit_deploy.progress import Progress, track
from hrvit_deploy.runners.memory import trim


def verify(
    candidate: PreparedRunner,
    reference: PreparedRunner,
    images: Iterable[NamedImage],
    gates: Gates,
    progress: Progress,
    *,
    total: int | None = None,
) -> Parity:
    """Run both on the same images, each prepared its own way, and compare.

    Scores are compared in numbers and in what they decide. If either returns a class
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
        InputError: No images, or outputs that cannot be compared.
        RunnerError: A runner failed.
    """
    if candidate.preparation.size != reference.preparation.size:
        raise InputError(
            f"{candidate.runner.name} takes images of {candidate.preparation.size},"
            f" {reference.runner.name} of {reference.preparation.size}",
            "compare artefacts of one size",
        )
    names = (candidate.output, *candidate.others)
    errors, agreement = {name: Errors() for name in names}, Agreement()
    subtract = _can_subtract(candidate, reference)
    followed = track(progress, f"Verifying against {reference.runner.name}", images, total)
    count, plain = 0, 0
    for group in _groups(followed, max(candidate.batch, reference.batch)):
        count += len(group)
        plain += sum(is_plain(image.pixels) for image in group)
        trim()
        _compare(candidate, reference, group, errors if subtract else {}, agreement)
    if not count:
        raise InputError("there is no image to compare on", "give a folder with --images DIR")
    if subtract:
        parity = worst(
            {
                name: compare_scores(found, agreement, gates, reference.runner.name, count)
                for name, found in errors.items()
            }
        )
    else:
        parity = compare_labels(agreement, gates, reference.runner.name, count)
    if plain < count or not parity.passed:
        return parity
    one = "the image is" if count == 1 else f"all {count} images are each"
    return replace(parity, passed=False, unjudged=f"{one} of one colour, which tells nothing")


def _compare(
    candidate: PreparedRunner,
    reference: PreparedRunner,
    images: Sequence[NamedImage],
    errors: Mapping[str, Errors],
    agreement: Agreement,
) -> None:
    """Run one batch of images through both.

    What outputs large images fill is gone before the next batch. The reference goes first:
    eager PyTorch needs the most memory while it runs, and holds nothing of it afterwards.
    """
    pairs = zip(reference.all_outputs(images), candidate.all_outputs(images), strict=True)
    for image, (theirs, ours) in zip(images, pairs, strict=True):
        if errors:
            for found, our, their in zip(errors.values(), ours, theirs, strict=True):
                found.add(image.name, our, their)
        if not _decides_nothing(candidate, reference):
            agreement.add(_labels(candidate, ours[0]), _labels(reference, theirs[0]))


def _decides_nothing(*prepared: PreparedRunner) -> bool:
    """Return whether there is nothing to compare but numbers."""
    formats = {each.output_format for each in prepared}
    return None in formats or formats == {OutputFormat.FEATURES}


def _can_subtract(candidate: PreparedRunner, reference: PreparedRunner) -> bool:
    formats = {candidate.output_format, reference.output_format}
    return len(formats) == 1 and OutputFormat.CLASSMAP not in formats


def _labels(prepared: PreparedRunner, output: NDArray[Any]) -> Any:
    return labels_of(output, prepared.output_format, prepared.preparation.size)


def _groups(images: Iterable[NamedImage], size: int) -> Iterator[list[NamedImage]]:
    iterator = iter(images)
    while group := list(islice(iterator, size)):
        yield group
