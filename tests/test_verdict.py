"""One verdict, from whatever was measured, and a name only for what passed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import small_artefacts

import hrvit_deploy
from hrvit_deploy.artefact import (
    Artefact,
    Gate,
    Kind,
    Manifest,
    Parity,
    Weights,
    newest,
    open_artefact,
    record,
    sidecar_of,
)
from hrvit_deploy.errors import ArtefactError, GateError
from hrvit_deploy.verdict import (
    REFUSED,
    Outcome,
    accept,
    inherited,
    make_checked,
    require_usable,
    verdict_of,
)

PASSED = Parity("eager", 8, 0.0, 0.0, 1.0, 1.0, passed=True, gates={})
MISSED = replace(PASSED, passed=False, note="cosine 0.5 is below its gate 0.9")
BLIND = replace(PASSED, passed=False, unjudged="all 8 images are each of one colour")
HOLDS = Gate("agreement", 1.0, 0.99, 0.95, passed=True, images=8, share=0.999)
LOSES = replace(HOLDS, candidate=0.5, passed=False)
UNTOLD = replace(HOLDS, passed=False, unjudged="one class is decided everywhere")


def manifest_with(parity: Parity | None, gate: Gate | None, tmp_path: Path) -> Manifest:
    return small_artefacts.artefact(tmp_path, parity=parity, gate=gate).manifest


@pytest.mark.parametrize(
    ("parity", "gate", "outcome"),
    [
        (None, None, Outcome.UNVERIFIED),
        (PASSED, None, Outcome.PASSED),
        (PASSED, HOLDS, Outcome.PASSED),
        (MISSED, None, Outcome.FAILED),
        # A gate that passed does not mend a comparison that failed, nor the other way round.
        (MISSED, HOLDS, Outcome.FAILED),
        (PASSED, LOSES, Outcome.FAILED),
        (MISSED, UNTOLD, Outcome.FAILED),
        (PASSED, UNTOLD, Outcome.UNJUDGED),
        (BLIND, None, Outcome.UNJUDGED),
        (BLIND, UNTOLD, Outcome.UNJUDGED),
        # What one could not tell, the other did.
        (BLIND, HOLDS, Outcome.PASSED),
        (BLIND, LOSES, Outcome.FAILED),
        (replace(MISSED, held=False), replace(LOSES, held=False), Outcome.TOLD),
        (replace(MISSED, held=False), LOSES, Outcome.FAILED),
        (replace(MISSED, accepted=True), None, Outcome.ACCEPTED),
        (replace(MISSED, accepted=True), LOSES, Outcome.FAILED),
    ],
)
def test_there_is_one_verdict(
    parity: Parity | None, gate: Gate | None, outcome: Outcome, tmp_path: Path
) -> None:
    verdict = verdict_of(manifest_with(parity, gate, tmp_path))
    assert verdict.outcome is outcome
    refused = outcome in (Outcome.FAILED, Outcome.UNJUDGED)
    assert verdict.usable is not refused


def test_what_is_refused_says_why_and_what_to_do(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path, parity=MISSED)
    with pytest.raises(GateError, match=r"cosine 0\.5 is below its gate") as caught:
        require_usable(made)
    assert "--accept-parity" in caught.value.hint
    made = record(made, parity=None, gate=UNTOLD)
    with pytest.raises(GateError, match="cannot be judged: one class") as caught:
        require_usable(made)
    assert "--data" in caught.value.hint


def test_what_is_accepted_is_said_by_all_that_comes_of_it(tmp_path: Path) -> None:
    made = accept(small_artefacts.artefact(tmp_path, parity=MISSED))

    assert open_artefact(made.path).manifest.parity == replace(MISSED, accepted=True)
    require_usable(made)
    (told,) = inherited(made.manifest)
    assert "cosine 0.5" in told
    child = replace(made.manifest, parity=PASSED, accepted=inherited(made.manifest))
    verdict = verdict_of(child)
    assert (verdict.outcome, verdict.reason) == (Outcome.ACCEPTED, told)
    assert inherited(replace(child, gate=replace(LOSES, accepted=True)))[0] == told


def test_a_good_artefact_is_not_marked(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path, parity=PASSED, gate=HOLDS)
    assert accept(made) == made


def make(parity: Parity, text: str = "") -> small_artefacts.Make:
    def made(path: Path) -> Artefact:
        built = small_artefacts.artefact(
            path.parent, parity=parity, versions={"made": text}, name=path.name
        )
        assert built.path == path
        return built

    return made


def test_only_what_passed_bears_the_name(tmp_path: Path) -> None:
    target = tmp_path / "export" / "graph.onnx"

    good = make_checked(target, make(PASSED, "first"))
    assert good.path == target
    assert open_artefact(target) == good

    bad = make_checked(target, make(MISSED, "second"))
    assert bad.path == target.parent / REFUSED / target.name
    assert open_artefact(bad.path) == bad
    # What stood there stands.
    assert open_artefact(target) == good

    taken = make_checked(target, make(MISSED, "third"), accepted=True)
    assert taken.path == target
    assert open_artefact(target).manifest.versions == {"made": "third"}
    # What was refused before under this name is gone, and nothing else lies about.
    assert sorted(path.name for path in target.parent.iterdir()) == ["graph.json", "graph.onnx"]


def test_nothing_is_left_of_what_breaks_off(tmp_path: Path) -> None:
    target = tmp_path / "export" / "graph.onnx"

    def broken(path: Path) -> Artefact:
        make(PASSED)(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_checked(target, broken)
    assert not list(target.parent.iterdir())


def test_a_refused_graph_is_not_taken_as_the_newest(tmp_path: Path) -> None:
    target = tmp_path / "graph.onnx"
    make_checked(target, make(MISSED))
    with pytest.raises(ArtefactError, match="not refused"):
        newest(tmp_path, Kind.ONNX)


def test_a_refused_graph_is_not_loaded(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path, parity=MISSED)
    with pytest.raises(GateError, match=r"cosine 0\.5"):
        hrvit_deploy.load(made.path)
    with hrvit_deploy.load(accept(made).path):
        pass


def test_random_weights_alone_are_only_told(tmp_path: Path) -> None:
    told = replace(LOSES, held=False)
    made = small_artefacts.artefact(tmp_path, gate=told)
    assert made.manifest.network.weights is Weights.RANDOM
    assert sidecar_of(made.path).is_file()
    require_usable(made)
