"""A verdict is not lost to a later command, nor given by a comparison that tells nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrvit_deploy.artefact import Artefact, Gate, Parity, Weights, open_artefact, record
from hrvit_deploy.errors import GateError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.parity.gates import QualityLimits
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline import quality_gate, stages
from hrvit_deploy.pipeline import quantize as quantize_stage
from hrvit_deploy.pipeline.quality_gate import QualityCriteria
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.verdict import Outcome, inherited, verdict_of

MISSED = Parity(
    "eager", 4, 1.0, 1.0, 0.5, 0.5, passed=False, gates={}, note="cosine 0.5 is below"
)
LOSES = Gate("agreement", 1.0, 0.96, 0.99, passed=False, images=8, share=0.99)
PASSES = replace(LOSES, limit=0.95, passed=True)
TWO = ImageSource(limit=2)


@pytest.fixture
def artefact(graph: Path) -> Artefact:
    return open_artefact(graph)


@pytest.fixture
def black(tmp_path: Path) -> ImageSource:
    for index in range(2):
        pixels = np.zeros((64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    return ImageSource(tmp_path)


def verdict_on_disk(artefact: Artefact) -> Outcome:
    return verdict_of(open_artefact(artefact.path).manifest).outcome


def test_a_graph_compared_with_itself_is_not_judged(artefact: Artefact) -> None:
    missed = record(artefact, parity=MISSED)
    verified = stages.verify(missed, missed, TWO, SilentProgress())
    assert verified.manifest.parity is not None
    assert "compared with itself" in verified.manifest.parity.unjudged
    assert not verdict_of(verified.manifest).usable
    assert verdict_on_disk(artefact) is Outcome.FAILED


def test_a_refused_reference_proves_nothing(artefact: Artefact, tmp_path: Path) -> None:
    other = tmp_path / "other" / artefact.path.name
    other.parent.mkdir()
    other.write_bytes(artefact.path.read_bytes())
    sha = "0" * 64
    reference = Artefact(other, replace(artefact.manifest, parity=MISSED, sha256=sha))
    verified = stages.verify(artefact, reference, TWO, SilentProgress())
    assert verified.manifest.parity is not None
    assert "is refused itself" in verified.manifest.parity.unjudged


@pytest.mark.parametrize(
    ("before", "images", "wider", "given", "words"),
    [
        (MISSED, 2, False, False, "too few to take that back"),
        (MISSED, 8, True, False, "take nothing back"),
        (replace(MISSED, accepted=True), 2, False, False, "too few"),
        (MISSED, 4, False, False, ""),
        (MISSED, 2, True, True, ""),
        (None, 2, True, False, ""),
        (replace(MISSED, unjudged="black"), 2, True, False, ""),
        (replace(MISSED, passed=True), 2, True, False, ""),
    ],
)
def test_a_weaker_comparison_takes_no_miss_back(
    before: Parity | None, images: int, wider: bool, given: bool, words: str
) -> None:
    now = Parity("eager", images, 0.0, 0.0, 1.0, 1.0, passed=True, gates={})
    found = stages.takes_nothing_back(before, now, wider=wider, given=given)
    assert bool(found) == bool(words)
    assert words in found


def test_fewer_images_leave_the_sidecar_as_it_was(artefact: Artefact) -> None:
    missed = record(artefact, parity=MISSED)
    stages.verify(missed, None, TWO, SilentProgress())
    assert verdict_on_disk(artefact) is Outcome.FAILED
    stages.verify(missed, None, ImageSource(limit=4), SilentProgress())
    assert verdict_on_disk(artefact) is Outcome.PASSED


def test_what_images_cannot_tell_is_not_what_is_accepted(
    artefact: Artefact, black: ImageSource
) -> None:
    missed = record(artefact, parity=MISSED)
    taken = stages.verify(missed, None, black, SilentProgress(), accept=True)
    assert "cosine 0.5" in inherited(taken.manifest)[0]
    assert inherited(open_artefact(artefact.path).manifest) == inherited(taken.manifest)


def test_what_passed_is_not_marked_for_images_that_cannot_tell(
    artefact: Artefact, black: ImageSource
) -> None:
    stages.verify(artefact, None, ImageSource(limit=2), SilentProgress())
    taken = stages.verify(
        open_artefact(artefact.path), None, black, SilentProgress(), accept=True
    )
    assert verdict_of(taken.manifest).outcome is Outcome.PASSED
    assert verdict_on_disk(artefact) is Outcome.PASSED


def test_a_gate_stands_where_other_images_cannot_tell(
    artefact: Artefact, black: ImageSource
) -> None:
    judged = record(artefact, gate=PASSES)
    criteria = QualityCriteria(images=black, remeasure=True)
    again = quality_gate.recheck(judged, None, criteria, SilentProgress())
    assert verdict_of(again.manifest).outcome is Outcome.UNJUDGED
    assert open_artefact(artefact.path).manifest.gate == PASSES
    taken = quality_gate.recheck(judged, None, replace(criteria, accept=True), SilentProgress())
    assert taken.manifest.gate == PASSES


@pytest.mark.parametrize("accepted", [False, True])
def test_a_missed_gate_is_not_passed_by_wider_limits_that_nobody_gave(
    artefact: Artefact, accepted: bool
) -> None:
    lost = record(artefact, gate=replace(LOSES, accepted=accepted))
    network = replace(lost.manifest.network, weights=Weights.CHECKPOINT)
    lost = record(lost, network=network, precision=Precision.INT8)
    again = quality_gate.recheck(lost, None, QualityCriteria(), SilentProgress())
    assert again.manifest.gate == lost.manifest.gate
    given = QualityCriteria(quality=QualityLimits(0.01, 0.95))
    again = quality_gate.recheck(lost, None, given, SilentProgress())
    assert again.manifest.gate is not None
    assert again.manifest.gate.passed


def test_nothing_is_cast_from_what_was_refused(artefact: Artefact) -> None:
    missed = record(artefact, parity=MISSED)
    criteria = QualityCriteria(images=TWO)
    with pytest.raises(GateError, match="does not answer as eager"):
        quantize_stage.cast_and_check(missed, Precision.FP16, criteria, SilentProgress())
    accepting = replace(criteria, accept=True)
    made = quantize_stage.cast_and_check(missed, Precision.FP16, accepting, SilentProgress())
    assert "cosine 0.5" in inherited(made.manifest)[0]


def test_a_graph_cast_before_tells_what_was_accepted_since(artefact: Artefact) -> None:
    made, _ = quantize_stage.find_or_cast(artefact, Precision.FP16, TWO, SilentProgress())
    assert not inherited(made.manifest)
    taken = record(artefact, parity=replace(MISSED, accepted=True))
    known, fresh = quantize_stage.find_or_cast(taken, Precision.FP16, TWO, SilentProgress())
    assert not fresh
    assert "cosine 0.5" in inherited(open_artefact(known.path).manifest)[0]
