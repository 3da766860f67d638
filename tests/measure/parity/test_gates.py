"""A gate fails on what is worse, and says so where it could not fail."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrvit_deploy.measure.accuracy.confusion import ConfusionMatrix
from hrvit_deploy.measure.parity.errors import Agreement, compare_labels
from hrvit_deploy.measure.parity.gates import GATES, Measured, QualityLimits, above_chance
from hrvit_deploy.options import Precision

LIMITS = QualityLimits(drop=0.01, agreement=0.95)
AGREES = Measured("agreement", 1.0, 0.97, 8, constant=0.2, share=0.999)
SCORES = Measured("miou", 0.80, 0.795, 8, constant=0.1)


def labels(*counts: int) -> Any:
    """So many decisions of class 0, 1, 2 and so on."""
    return np.repeat(np.arange(len(counts)), counts).astype(np.int32)


@pytest.mark.parametrize("measured", [AGREES, SCORES])
def test_what_is_good_passes(measured: Measured) -> None:
    gate = LIMITS.check(measured)
    assert gate.passed
    assert not gate.unjudged


@pytest.mark.parametrize(
    "measured",
    [
        replace(AGREES, candidate=0.949),
        replace(AGREES, candidate=float("nan")),
        replace(SCORES, candidate=0.789),
        replace(SCORES, candidate=float("nan")),
    ],
)
def test_what_is_worse_fails(measured: Measured) -> None:
    gate = LIMITS.check(measured)
    assert not gate.passed
    assert not gate.unjudged


@pytest.mark.parametrize(
    ("measured", "limits", "words"),
    [
        (replace(AGREES, unjudged="one class everywhere"), LIMITS, "one class everywhere"),
        (replace(AGREES, images=1), LIMITS, "1 image is too few"),
        (replace(AGREES, constant=0.96), LIMITS, r"one class everywhere would reach 0\.96"),
        (AGREES, QualityLimits(0, 0), "the least that passes is 0"),
        # The float graph is no better than chance: the labels are not what it was taught.
        (Measured("miou", 0.0039, 0.0041, 6, constant=0.08), LIMITS, "do not fit"),
        (Measured("miou", 0.0939, 0.0941, 6, constant=0.08), LIMITS, "do not fit"),
        (Measured("top1", 0.1, 0.1, 60, constant=0.1), LIMITS, "do not fit"),
        (Measured("miou", float("nan"), 0.5, 60, constant=0.1), LIMITS, "do not fit"),
        # Labels of one class.
        (Measured("top1", 1.0, 1.0, 60, constant=1.0), LIMITS, "do not fit"),
        # All may be lost.
        (SCORES, QualityLimits(0.8, 0.9), "the least that passes"),
        (SCORES, QualityLimits(0.75, 0.9), "one class everywhere would reach"),
    ],
)
def test_what_could_not_fail_is_no_pass(
    measured: Measured, limits: QualityLimits, words: str
) -> None:
    gate = limits.check(measured)
    assert not gate.passed
    assert re.search(words, gate.unjudged)


def test_a_gate_holds_what_it_measured_to_another_limit() -> None:
    gate = LIMITS.check(AGREES)
    assert QualityLimits(0, 0.97).check(Measured.of(gate)).passed
    assert not QualityLimits(0, 0.98).check(Measured.of(gate)).passed


def test_chance_is_what_one_class_reaches() -> None:
    assert above_chance(0.5, 0.4)
    assert not above_chance(0.405, 0.4)
    assert not above_chance(1.0, 1.0)


def test_the_commonest_class_does_not_carry_agreement() -> None:
    reference = labels(9900, 50, 50)
    candidate = reference.copy()
    candidate[9900:9950] = 0
    agreement = Agreement()
    agreement.add(candidate, reference)
    assert agreement.share == pytest.approx(0.995)
    # Classes 0, 1 and 2: 9900 of 9950, none of 50, and all.
    assert agreement.by_class == pytest.approx((9900 / 9950 + 0 + 1) / 3)
    assert agreement.constant_share == pytest.approx(0.99)
    assert agreement.constant == pytest.approx(0.99 / 3)
    assert (agreement.classes, agreement.commonest) == (3, 0)


def test_classes_only_the_candidate_decides_cost_the_others() -> None:
    agreement = Agreement()
    agreement.add(labels(2, 4, 2), labels(4, 4))
    assert agreement.classes == 2
    # Class 0: 2 of 4. Class 1: 2 of 4 decided plus 2 more answered.
    assert agreement.by_class == pytest.approx((2 / 4 + 2 / 6) / 2)


def test_agreement_grows_with_the_classes_it_meets() -> None:
    whole, parts = Agreement(), Agreement()
    first, second = labels(3, 4), labels(0, 2, 0, 0, 5)
    whole.add(np.concatenate([first, second]), np.concatenate([first, second[::-1]]))
    parts.add(first, first)
    parts.add(second, second[::-1])
    np.testing.assert_array_equal(whole.counts, parts.counts)
    assert whole.by_class == parts.by_class < 1


def test_a_class_map_of_one_class_judges_nothing() -> None:
    gates = GATES[Precision.INT8]
    same = Agreement()
    same.add(labels(100), labels(100))
    parity = compare_labels(same, gates, "eager", 2)
    assert not parity.passed
    assert "decides class 0 everywhere" in parity.unjudged
    often = Agreement()
    often.add(labels(90, 10), labels(90, 10))
    parity = compare_labels(often, gates, "eager", 2)
    assert not parity.passed
    assert "an answer of it everywhere would agree by 0.9" in parity.unjudged
    # A tighter gate could have failed.
    assert compare_labels(often, GATES[Precision.FP32], "eager", 2).passed
    # And a miss is a miss.
    wrong = Agreement()
    wrong.add(labels(0, 100), labels(100))
    parity = compare_labels(wrong, gates, "eager", 2)
    assert not parity.passed
    assert not parity.unjudged
    assert parity.note


def test_what_one_class_would_reach_on_labels() -> None:
    matrix = ConfusionMatrix(4)
    matrix.add(np.array([0] * 6 + [1] * 3 + [2]), np.array([0] * 5 + [9] + [1] * 4))
    assert matrix.constant_accuracy == pytest.approx(0.6)
    assert matrix.constant_miou == pytest.approx(0.6 / 3)
    assert np.isnan(ConfusionMatrix(4).constant_miou)
