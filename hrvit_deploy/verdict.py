"""One verdict on an artefact, from all that was measured of it, and what follows from it.

What missed is refused wherever it is met, and bears no name that anybody takes by chance:
it is made beside its place and put into ``refused/`` instead. Somebody may take it all the
same; then its sidecar says so, and that of all that is made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from hrvit_deploy.artefact import (
    Artefact,
    Gate,
    Manifest,
    Parity,
    record,
    sidecar_of,
)
from hrvit_deploy.errors import GateError
from hrvit_deploy.progress import Progress
from hrvit_deploy.staging import staged_in, staging

# Folder, beside the place it was meant for, of what its gates refused.
REFUSED = "refused"
AGREEMENT = "agreement"
ACCEPT = "--accept-parity"


class Outcome(StrEnum):
    """What is to be thought of an artefact."""

    PASSED = "passed"
    ACCEPTED = "ACCEPTED in spite of what it missed"
    TOLD = "not held: the weights are random"
    UNVERIFIED = "not verified"
    UNJUDGED = "CANNOT BE JUDGED"
    FAILED = "FAILED"


USABLE = frozenset({Outcome.PASSED, Outcome.ACCEPTED, Outcome.TOLD, Outcome.UNVERIFIED})


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of an artefact, and why.

    Attributes:
        outcome: One word for all that was measured.
        reason: What was missed, in words; empty where nothing was.
    """

    outcome: Outcome
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether anything may be made of the artefact, or run with it."""
        return self.outcome in USABLE

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}" if self.reason else str(self.outcome)


@dataclass(frozen=True)
class _Miss:
    """A comparison or a gate that did not pass."""

    reason: str
    unjudged: bool
    held: bool
    accepted: bool


def verdict_of(manifest: Manifest) -> Verdict:
    """Return the one verdict on what a sidecar describes."""
    misses = _misses(manifest)
    counting = [miss for miss in misses if miss.held and not miss.accepted]
    failed = [miss.reason for miss in counting if not miss.unjudged]
    if failed:
        return Verdict(Outcome.FAILED, "; ".join(failed))
    if counting:
        return Verdict(Outcome.UNJUDGED, "; ".join(miss.reason for miss in counting))
    accepted = inherited(manifest)
    if accepted:
        return Verdict(Outcome.ACCEPTED, "; ".join(accepted))
    if misses:
        return Verdict(Outcome.TOLD, "; ".join(miss.reason for miss in misses))
    if manifest.parity is None and manifest.gate is None:
        return Verdict(Outcome.UNVERIFIED)
    return Verdict(Outcome.PASSED)


def inherited(manifest: Manifest) -> tuple[str, ...]:
    """Return what was accepted in an artefact and before it, for what is made from it."""
    own = [
        f"{manifest.precision}: {miss.reason}" for miss in _misses(manifest) if miss.accepted
    ]
    return tuple(dict.fromkeys((*manifest.accepted, *own)))


def _misses(manifest: Manifest) -> list[_Miss]:
    parity, gate = manifest.parity, manifest.gate
    misses = []
    # What one comparison cannot tell, a gate that was measured has told.
    told = gate is not None and not gate.unjudged
    if parity is not None and not parity.passed and not (parity.unjudged and told):
        misses.append(_miss_of(describe_parity(parity), parity))
    if gate is not None and not gate.passed:
        misses.append(_miss_of(describe_gate(gate), gate))
    return misses


def _miss_of(reason: str, of: Parity | Gate) -> _Miss:
    return _Miss(reason, bool(of.unjudged), of.held, of.accepted)


def describe_parity(parity: Parity) -> str:
    """Describe what a comparison missed, in words."""
    if parity.unjudged:
        return parity.unjudged
    return f"it does not answer as {parity.reference} does: {parity.note}"


def describe_gate(gate: Gate) -> str:
    """Describe in words what a gate measured, or why it could not."""
    if gate.unjudged:
        return gate.unjudged
    if gate.metric == AGREEMENT:
        share = "" if gate.share is None else f" ({gate.share:.2%} of all decisions are equal)"
        return (
            f"its decisions agree with the float32 graph's by {gate.candidate:.4f} in the mean"
            f" over the classes{share} on {gate.images} images, and {gate.limit:.4f} is the"
            " least"
        )
    drop, allowed = gate.reference - gate.candidate, gate.reference - gate.limit
    return (
        f"{gate.metric} is {gate.candidate:.4f} against {gate.reference:.4f} in float32 on"
        f" {gate.images} images: a loss of {100 * drop:.2f} points, and {100 * allowed:.2f}"
        " are allowed"
    )


def accept(artefact: Artefact, progress: Progress | None = None) -> Artefact:
    """Take an artefact in spite of what it missed, and say so in its sidecar.

    Args:
        artefact: The artefact.
        progress: Warned where the sidecar cannot be renewed; None for an error.

    Returns:
        The artefact; unchanged where it is usable anyway.
    """
    manifest = artefact.manifest
    if verdict_of(manifest).usable:
        return artefact
    changes: dict[str, Any] = {}
    for name, measured in (("parity", manifest.parity), ("gate", manifest.gate)):
        if measured is not None and not measured.passed and measured.held:
            changes[name] = replace(measured, accepted=True)
    return record(artefact, progress=progress, **changes)


def require_usable(artefact: Artefact) -> None:
    """Refuse to go on with an artefact that missed what it was held to, or was not judged.

    Raises:
        GateError: It did; with the figures, and how to mend it.
    """
    verdict = verdict_of(artefact.manifest)
    if verdict.usable:
        return
    judged = verdict.outcome is Outcome.FAILED
    lead = "" if judged else "it cannot be judged: "
    raise GateError(f"{artefact.path}: {lead}{verdict.reason}", advice(artefact.manifest))


def advice(manifest: Manifest) -> str:
    """Return how to mend an artefact that is refused."""
    verdict = verdict_of(manifest)
    if verdict.outcome is Outcome.UNJUDGED:
        return (
            "give images of what the network is for, with several classes, by --images, or"
            f" labelled ones by --data; {ACCEPT} takes it unproven"
        )
    if manifest.quantization is not None:
        return (
            "add --auto to leave the worst products in float, calibrate on more or other"
            f" images, or build --fp16; {ACCEPT} takes it as it is"
        )
    return (
        "take another precision, or loosen what it is held to; hrvit-deploy verify it with"
        f" {ACCEPT} to take it as it is"
    )


def make_checked(
    target: Path, make: Callable[[Path], Artefact], *, accepted: bool = False
) -> Artefact:
    """Make an artefact, and give it its name only once it is good enough.

    Args:
        target: ``NAME.onnx`` where it is to lie.
        make: Writes and judges it at a path in a folder of its own, beside the place.
        accepted: Take it whatever it missed, and say so in its sidecar.

    Returns:
        The artefact at ``target``; or in ``refused/`` beside it, where it is not usable. What
        lay at ``target`` stands then.

    Raises:
        ArtefactError: Nothing can be written there.
    """
    with staging(target) as folder:
        made = make(folder / target.name)
        if accepted:
            made = accept(made)
        usable = verdict_of(made.manifest).usable
        if not usable:
            with staging(target.parent / REFUSED / target.name) as aside:
                for path in staged_in(folder):
                    path.replace(aside / path.name)
    if not usable:
        return replace(made, path=target.parent / REFUSED / target.name)
    _forget(target.parent / REFUSED, made, target.name)
    return replace(made, path=target)


def _forget(folder: Path, made: Artefact, name: str) -> None:
    """Remove what was refused under a name that something better bears now."""
    graph, stale = made.manifest.graph, folder / name
    beside = [folder / data for data in graph.external_data] if graph else []
    for path in (stale, sidecar_of(stale), *beside):
        path.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError:
        # Others are in it, or it is not there.
        return
