"""How far two outputs lie apart, gathered image by image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrvit_deploy.artefact import Parity
from hrvit_deploy.errors import InputError
from hrvit_deploy.inference.labels import UNDECIDED, Labels
from hrvit_deploy.measure.parity.gates import Gates

# Elements taken to float64 at once; full-size logits would need a gigabyte.
CHUNK = 1 << 20
# Deviations that the mean of all scores misses none of them by, as a rule.
CONSTANT_ERROR = 10.0


class Errors:
    """Absolute errors and the angle between two outputs, over any number of images.

    Elements where either output is NaN or infinite are counted and left out of the sums.
    """

    def __init__(self) -> None:
        self.max_abs = 0.0
        self.count = 0
        self.not_finite = 0
        self.first_not_finite = ""
        self._sum_abs = 0.0
        self._dot = 0.0
        self._squares = (0.0, 0.0)
        self._sum_reference = 0.0

    @property
    def sums(self) -> tuple[float, ...]:
        """All that was gathered, as :meth:`add_sums` takes it."""
        return (
            self.max_abs,
            float(self.count),
            float(self.not_finite),
            self._sum_abs,
            self._dot,
            *self._squares,
            self._sum_reference,
        )

    def add_sums(self, sums: tuple[float, ...]) -> None:
        """Add what another gathered of other images."""
        largest, count, not_finite, absolute, dot, ours, theirs, reference = sums
        self.max_abs = max(self.max_abs, largest)
        self.count += int(count)
        self.not_finite += int(not_finite)
        self._sum_abs += absolute
        self._dot += dot
        self._squares = (self._squares[0] + ours, self._squares[1] + theirs)
        self._sum_reference += reference

    def add(self, name: str, candidate: NDArray[Any], reference: NDArray[Any]) -> None:
        """Add one image's outputs.

        Args:
            name: Of the image, to name it where an output is not finite.
            candidate: Of any shape and float type.
            reference: Of the same shape.

        Raises:
            InputError: The shapes differ.
        """
        if candidate.shape != reference.shape:
            raise InputError(
                f"outputs have shapes {candidate.shape} and {reference.shape}",
                "compare artefacts of one size, task and number of classes",
            )
        for ours, theirs in _chunks(candidate, reference):
            finite = np.isfinite(ours) & np.isfinite(theirs)
            missing = finite.size - int(finite.sum())
            if missing:
                self.not_finite += missing
                self.first_not_finite = self.first_not_finite or name
                ours, theirs = ours[finite], theirs[finite]  # noqa: PLW2901
            self._add_finite(ours, theirs)

    def _add_finite(
        self, candidate: NDArray[np.float64], reference: NDArray[np.float64]
    ) -> None:
        if not candidate.size:
            return
        distance = np.abs(candidate - reference)
        self.count += distance.size
        self.max_abs = max(self.max_abs, float(distance.max()))
        self._sum_abs += float(distance.sum())
        self._dot += float(candidate @ reference)
        ours, theirs = self._squares
        self._squares = (
            ours + float(candidate @ candidate),
            theirs + float(reference @ reference),
        )
        self._sum_reference += float(reference.sum())

    @property
    def mean_abs(self) -> float:
        """Mean absolute error."""
        return self._sum_abs / self.count if self.count else 0.0

    @property
    def cosine(self) -> float:
        """Of the two outputs as two long vectors; 1 if both are zero, 0 if one is."""
        ours, theirs = self._squares
        if ours == 0 and theirs == 0:
            return 1.0 if self.count else 0.0
        length = math.sqrt(ours) * math.sqrt(theirs)
        return max(-1.0, min(1.0, self._dot / length)) if length else 0.0

    @property
    def constant_cosine(self) -> float:
        """What :attr:`cosine` is for an output that is the reference's mean everywhere."""
        theirs = self._squares[1]
        if not theirs:
            return 1.0
        return abs(self._sum_reference) / math.sqrt(self.count * theirs)

    @property
    def deviation(self) -> float:
        """Standard deviation of the reference's elements."""
        if not self.count:
            return 0.0
        mean = self._sum_reference / self.count
        return math.sqrt(max(0.0, self._squares[1] / self.count - mean * mean))


class Agreement:
    """How decisions fall together, over any number of images.

    Attributes:
        counts: ``(C + 1) x (C + 1)`` int64 by the reference's class and the candidate's, the
            first row and column of those undecided; as large as the classes seen need.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((1, 1), np.int64)

    def add(self, candidate: Labels, reference: Labels) -> None:
        """Add one image's decisions, of the same shape; undecided ones agree with nothing.

        Raises:
            InputError: The shapes differ.
        """
        if candidate.shape != reference.shape:
            raise InputError(
                f"decisions have shapes {candidate.shape} and {reference.shape}",
                "compare artefacts of one size and task",
            )
        if not candidate.size:
            return
        rows, columns = (
            labels.ravel().astype(np.int64) + 1 for labels in (reference, candidate)
        )
        size = self._grow(1 + max(int(rows.max()), int(columns.max())))
        pairs = np.bincount(rows * size + columns, minlength=size * size)
        self.counts += pairs.reshape(size, size)

    def add_cells(self, cells: Iterable[tuple[int, int, int]]) -> None:
        """Add counts by row and column, as another gathered them."""
        for row, column, count in cells:
            self._grow(1 + max(row, column))
            self.counts[row, column] += count

    def _grow(self, size: int) -> int:
        """Make room for so many classes and one; return how many there is room for."""
        missing = size - len(self.counts)
        if missing > 0:
            self.counts = np.pad(self.counts, ((0, missing), (0, missing)))
        return len(self.counts)

    @property
    def count(self) -> int:
        """How many decisions there were."""
        return int(self.counts.sum())

    @property
    def same(self) -> int:
        """How many are equal, and decided."""
        return int(np.trace(self.counts[1:, 1:]))

    @property
    def share(self) -> float:
        """Share of equal decisions, from 0 to 1."""
        return self.same / self.count if self.count else 0.0

    @property
    def _decided(self) -> NDArray[np.int64]:
        """How often the reference decides each class."""
        decided: NDArray[np.int64] = self.counts[1:].sum(axis=1)
        return decided

    @property
    def classes(self) -> int:
        """How many classes the reference decides."""
        return int((self._decided > 0).sum())

    @property
    def commonest(self) -> int:
        """The class that the reference decides most often."""
        return int(self._decided.argmax()) if self.classes else UNDECIDED

    @property
    def by_class(self) -> float:
        """Mean intersection over union, over the classes that the reference decides."""
        if not self.classes:
            return 0.0
        decided = self._decided
        both = np.diag(self.counts)[1:]
        union = decided + self.counts[:, 1:].sum(axis=0) - both
        return float((both[decided > 0] / union[decided > 0]).mean())

    @property
    def constant(self) -> float:
        """What :attr:`by_class` is for the best answer that is one class everywhere."""
        return self.constant_share / self.classes if self.classes else 0.0

    @property
    def constant_share(self) -> float:
        """What :attr:`share` is for that answer."""
        return float(self._decided.max()) / self.count if self.classes else 0.0


def compare_scores(
    errors: Errors, agreement: Agreement, gates: Gates, reference: str, images: int
) -> Parity:
    """Compare outputs that can be subtracted with the gates.

    The gates of the result are absolute, so that each stands beside its measurement.
    """
    deviation = errors.deviation
    limits = {
        "max_abs": gates.max_error * deviation,
        "mean_abs": gates.mean_error * deviation,
        "cosine": gates.cosine,
        "agreement": gates.agreement,
    }
    if not agreement.count:
        # Outputs that are neither scores nor labels decide nothing.
        del limits["agreement"]
    measured = {
        "max_abs": errors.max_abs,
        "mean_abs": errors.mean_abs,
        "cosine": errors.cosine,
        "agreement": agreement.share,
    }
    faults = _faults(measured, limits)
    if errors.not_finite:
        total = errors.count + errors.not_finite
        faults.insert(
            0,
            f"{errors.not_finite} of {total} scores are NaN or infinite,"
            f" first in {errors.first_not_finite}",
        )
    unjudged = "" if faults else _too_wide(errors, agreement, gates)
    return Parity(
        reference=reference,
        images=images,
        max_abs=errors.max_abs,
        mean_abs=errors.mean_abs,
        cosine=errors.cosine,
        agreement=agreement.share,
        passed=not faults and not unjudged,
        gates=limits,
        note="; ".join(faults),
        unjudged=unjudged,
        class_agreement=agreement.by_class if agreement.count else None,
        constant_agreement=agreement.constant,
        constant_share=agreement.constant_share,
    )


def _too_wide(errors: Errors, agreement: Agreement, gates: Gates) -> str:
    """Say that gates judge nothing, if scores of one number everywhere would pass them."""
    decided = agreement.count and gates.agreement > agreement.constant_share
    if decided or gates.mean_error < 1 or gates.max_error <= CONSTANT_ERROR:
        return ""
    if gates.cosine > errors.constant_cosine:
        return ""
    return "scores of one number everywhere would pass these gates: give narrower ones"


def worst(parities: Mapping[str, Parity]) -> Parity:
    """Return the comparison of the output that is nearest to its gates, or beyond them most.

    Each output is held against its own deviation: feature maps differ in scale. What any of
    them missed is in the note, by its name.
    """
    if len(parities) == 1:
        return next(iter(parities.values()))
    chosen = max(parities.values(), key=_strain)
    faults = [f"{name}: {parity.note}" for name, parity in parities.items() if parity.note]
    return replace(
        chosen,
        passed=all(parity.passed for parity in parities.values()),
        note="; ".join(faults),
    )


def _strain(parity: Parity) -> float:
    """Return the largest error as a share of its gate; infinite for one that failed."""
    limit = parity.gates.get("max_abs", 0.0)
    if not parity.passed or not limit:
        return math.inf
    return parity.max_abs / limit


def compare_labels(agreement: Agreement, gates: Gates, reference: str, images: int) -> Parity:
    """Compare outputs of which only the decisions can be compared with the gates.

    A decision counts as a vector with a single 1: ``mean_abs`` is the share that differs,
    ``max_abs`` is 1 if any does, and the cosine is the agreement. Only that has a gate, and
    it judges nothing where one class everywhere would pass.
    """
    share = agreement.share
    limits = {"agreement": gates.agreement}
    faults = _faults({"agreement": share}, limits)
    unjudged = one_class(agreement, agreement.constant_share, gates.agreement)
    return Parity(
        reference=reference,
        images=images,
        max_abs=float(share < 1),
        mean_abs=1 - share,
        cosine=share,
        agreement=share,
        passed=not faults and not unjudged,
        gates=limits,
        note="; ".join(faults),
        # A miss is one whatever else the images could tell.
        unjudged="" if faults else unjudged,
        class_agreement=agreement.by_class,
        constant_agreement=agreement.constant,
        constant_share=agreement.constant_share,
    )


def one_class(agreement: Agreement, constant: float, limit: float) -> str:
    """Say why decisions judge nothing, if an answer of one class everywhere would pass."""
    if agreement.classes == 1:
        return (
            f"the reference decides class {agreement.commonest} everywhere on"
            " these images, so that agreement with it tells nothing"
        )
    if constant >= limit:
        return (
            f"class {agreement.commonest} is decided so often on these images that an answer"
            f" of it everywhere would agree by {constant:.4f}, and {limit:.4f} suffices"
        )
    return ""


def _faults(measured: dict[str, float], limits: dict[str, float]) -> list[str]:
    faults = []
    for name, limit in limits.items():
        value = measured[name]
        upper = name.endswith("_abs")
        # Written so that NaN fails.
        if not (value <= limit if upper else value >= limit):
            where = "above" if upper else "below"
            faults.append(f"{name} {value:.4g} is {where} its gate {limit:.4g}")
    return faults


def _chunks(
    first: NDArray[Any], second: NDArray[Any]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    flat = np.ravel(first), np.ravel(second)
    for start in range(0, first.size, CHUNK):
        ours, theirs = (array[start : start + CHUNK].astype(np.float64) for array in flat)
        yield ours, theirs
