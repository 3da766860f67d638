"""Streaming sums equal the definitions, and verdicts say what is wrong."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hrvit_deploy.artefact import Parity, plain
from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.inference.labels import Labels
from hrvit_deploy.measure.parity import errors as parity
from hrvit_deploy.measure.parity.errors import Agreement, Errors, compare_labels, compare_scores
from hrvit_deploy.measure.parity.gates import GATES, Gates
from hrvit_deploy.options import Precision

LOOSE = Gates(max_error=10, mean_error=10, cosine=0, agreement=0)


def errors_of(candidate: Any, reference: Any) -> Errors:
    errors = Errors()
    errors.add("image", np.asarray(candidate, np.float32), np.asarray(reference, np.float32))
    return errors


def agreeing(same: int, count: int) -> Agreement:
    agreement = Agreement()
    agreement.add(np.r_[np.zeros(same), np.ones(count - same)].astype(np.int32), zeros(count))
    return agreement


def zeros(count: int) -> Labels:
    return np.zeros(count, np.int32)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 40)),
        elements=st.floats(-1000, 1000, width=32),
    )
)
def test_the_sums_equal_the_definitions(both: Any) -> None:
    errors = Errors()
    for index in range(both.shape[1]):
        errors.add(f"{index}", both[0, index], both[1, index])
    ours, theirs = both.astype(np.float64)
    assert errors.max_abs == np.abs(ours - theirs).max()
    assert errors.mean_abs == pytest.approx(np.abs(ours - theirs).mean())
    assert errors.deviation == pytest.approx(theirs.std(), abs=1e-4)
    length = np.linalg.norm(ours) * np.linalg.norm(theirs)
    if length > 1e-6:
        assert errors.cosine == pytest.approx((ours * theirs).sum() / length, abs=1e-9)


def test_large_answers_are_summed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    both = np.random.default_rng(0).normal(size=(2, 3, 101)).astype(np.float32)
    whole = errors_of(*both)
    monkeypatch.setattr(parity, "CHUNK", 7)
    pieces = errors_of(*both)
    assert pieces.count == 303
    assert pieces.max_abs == whole.max_abs
    assert pieces.cosine == pytest.approx(whole.cosine, rel=1e-12)


def test_the_same_answer_in_bfloat16_differs_by_its_rounding() -> None:
    reference = np.random.default_rng(0).normal(size=(1, 4000)).astype(np.float32)
    errors = Errors()
    errors.add("image", reference.astype(ml_dtypes.bfloat16), reference)
    assert 0 < errors.max_abs <= np.abs(reference).max() * 2**-8
    assert 0.99999 < errors.cosine < 1


@pytest.mark.parametrize(
    ("candidate", "reference", "cosine"),
    [([0, 0], [0, 0], 1), ([0, 0], [1, 0], 0), ([1, 2], [-1, -2], -1), ([2, 0], [0, 3], 0)],
)
def test_the_cosine_at_its_corners(candidate: Any, reference: Any, cosine: float) -> None:
    assert errors_of(candidate, reference).cosine == pytest.approx(cosine)


def test_a_perfect_answer_passes_every_gate() -> None:
    scores = [[1.0, 2.0, -3.0]]
    strict = Gates(max_error=0, mean_error=0, cosine=1, agreement=1)
    verdict = compare_scores(errors_of(scores, scores), agreeing(3, 3), strict, "eager", 1)
    assert verdict.passed
    assert (verdict.reference, verdict.images, verdict.note) == ("eager", 1, "")


def test_gates_stand_in_the_units_of_what_they_limit() -> None:
    reference = [0.0, 4.0]  # deviation 2
    gates = dataclasses.replace(LOOSE, max_error=0.5, mean_error=0.25)
    verdict = compare_scores(errors_of([1, 4], reference), agreeing(1, 1), gates, "eager", 1)
    assert verdict.gates == {"max_abs": 1, "mean_abs": 0.5, "cosine": 0, "agreement": 0}
    assert (verdict.max_abs, verdict.mean_abs) == (1, 0.5)
    assert verdict.passed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_error": 0.49}, "max_abs 1 is above its gate 0.98"),
        ({"mean_error": 0.24}, "mean_abs 0.5 is above its gate 0.48"),
        ({"cosine": 0.98}, "cosine 0.9701 is below its gate 0.98"),
        ({"agreement": 0.8}, "agreement 0.75 is below its gate 0.8"),
    ],
)
def test_each_gate_alone_can_fail(change: dict[str, float], says: str) -> None:
    gates = dataclasses.replace(LOOSE, **change)
    verdict = compare_scores(errors_of([1, 4], [0, 4]), agreeing(3, 4), gates, "eager", 1)
    assert not verdict.passed
    assert verdict.note == says


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_fail_and_are_named(bad: float) -> None:
    errors = Errors()
    errors.add("first.jpg", np.ones(3, np.float32), np.ones(3, np.float32))
    errors.add("second.jpg", np.array([1, bad], np.float32), np.ones(2, np.float32))
    errors.add("third.jpg", np.array([bad, bad], np.float32), np.ones(2, np.float32))
    verdict = compare_scores(errors, agreeing(1, 1), LOOSE, "eager", 3)
    assert not verdict.passed
    assert verdict.note == "3 of 7 scores are NaN or infinite, first in second.jpg"
    # A sidecar is JSON, which knows neither NaN nor infinity.
    assert all(map(math.isfinite, (verdict.max_abs, verdict.mean_abs, verdict.cosine)))


def test_nothing_but_nan_fails_without_a_number() -> None:
    verdict = compare_scores(errors_of([np.nan] * 2, [1, 2]), agreeing(0, 1), LOOSE, "eager", 1)
    assert not verdict.passed
    assert verdict.cosine == 0


def test_a_reference_that_is_no_number_fails_too() -> None:
    verdict = compare_scores(errors_of([1], [np.nan]), agreeing(1, 1), LOOSE, "eager", 1)
    assert not verdict.passed


def test_answers_of_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(1, 3\) and \(1, 4\)"):
        errors_of(np.ones((1, 3)), np.ones((1, 4)))
    with pytest.raises(InputError, match=r"\(3,\) and \(4,\)"):
        Agreement().add(zeros(3), zeros(4))


def test_undecided_agrees_with_nothing() -> None:
    agreement = Agreement()
    agreement.add(np.array([-1, 1], np.int32), np.array([-1, 1], np.int32))
    assert agreement.share == 0.5


def test_decisions_alone_have_one_gate() -> None:
    verdict = compare_labels(agreeing(3, 4), dataclasses.replace(LOOSE, agreement=0.8), "e", 1)
    assert verdict == Parity(
        reference="e",
        images=1,
        max_abs=1,
        mean_abs=0.25,
        cosine=0.75,
        agreement=0.75,
        passed=False,
        gates={"agreement": 0.8},
        note="agreement 0.75 is below its gate 0.8",
        class_agreement=verdict.class_agreement,
        constant_agreement=verdict.constant_agreement,
        constant_share=verdict.constant_share,
    )
    assert compare_labels(agreeing(4, 4), GATES[Precision.FP32], "e", 1).max_abs == 0
    assert plain(verdict)["passed"] is False


def test_gates_loosen_with_the_precision() -> None:
    assert list(GATES) == list(Precision)
    for tighter, looser in zip(GATES.values(), list(GATES.values())[1:], strict=False):
        assert tighter.max_error < looser.max_error
        assert tighter.mean_error < looser.mean_error
        assert tighter.cosine > looser.cosine
        assert tighter.agreement > looser.agreement


@pytest.mark.parametrize(
    "wrong", [{"max_error": -1}, {"mean_error": math.nan}, {"cosine": 1.1}, {"agreement": 99}]
)
def test_gates_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        dataclasses.replace(LOOSE, **wrong)


@pytest.mark.parametrize(
    ("change", "judged"),
    [
        ({}, False),
        ({"max_error": 5}, True),
        ({"mean_error": 0.5}, True),
        ({"cosine": 0.9}, True),
        ({"agreement": 0.9}, True),
    ],
)
def test_gates_that_one_number_everywhere_would_pass_judge_nothing(
    change: dict[str, float], judged: bool
) -> None:
    scores = np.random.default_rng(0).normal(size=100)
    agreement = Agreement()
    agreement.add(np.arange(100, dtype=np.int32) % 3, np.arange(100, dtype=np.int32) % 3)
    wide = dataclasses.replace(Gates(1e9, 1e9, 0, 0), **change)
    found = compare_scores(errors_of(scores, scores), agreement, wide, "eager", 8)
    assert (found.passed, not found.unjudged) == (judged, judged)


def test_a_rare_class_counts_as_much_as_the_commonest() -> None:
    reference, candidate = zeros(100), zeros(100)
    reference[:2] = 1
    agreement = Agreement()
    agreement.add(candidate, reference)
    assert agreement.share == 0.98
    assert agreement.by_class == pytest.approx((0.98 + 0) / 2)
    assert agreement.constant == pytest.approx(0.98 / 2)


def test_labels_of_one_class_everywhere_pass_nothing() -> None:
    agreement = Agreement()
    agreement.add(zeros(100), zeros(100))
    found = compare_labels(agreement, Gates(9, 9, 0, 0.9), "eager", 8)
    assert not found.passed
    assert "decides class 0 everywhere" in found.unjudged
