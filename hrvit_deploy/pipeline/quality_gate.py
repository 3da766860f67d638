"""What a narrower graph costs in what the network is for, and whether that is too much.

The task says: mIoU or top-1 on labelled images, or the share of decisions that stay the
float32 graph's where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy.artefact import ELSEWHERE, Artefact, Gate, Weights, record
from hrvit_deploy.errors import GateError, UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.parity.gates import AGREEMENT, QUALITY, QualityLimits
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import Implementation, RunOptions

if TYPE_CHECKING:
    from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions


@dataclass(frozen=True)
class QualityCriteria:
    """What a graph is judged on, and what it may lose.

    Attributes:
        data: Labelled images, laid out as :mod:`hrvit_deploy.datasets` knows; None judges
            by agreement with the float32 graph on ``images``.
        images: Without labels.
        samples: Labelled images at most; None for all.
        labels_from: What label maps call the first class, 0 or 1; None for what their
            layout does.
        quality: None takes those of the precision. Only a gate that is given holds for
            random weights, whose decisions are near ties.
        remeasure: Measure on these images even what was judged before.
    """

    data: Path | None = None
    images: ImageSource = field(default_factory=ImageSource)
    samples: int | None = None
    labels_from: int | None = None
    quality: QualityLimits | None = None
    remeasure: bool = False

    @property
    def options(self) -> EvaluateOptions:
        """How labelled images are judged."""
        from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions

        return EvaluateOptions(samples=self.samples, labels_from=self.labels_from)

    def limits(self, precision: Precision) -> QualityLimits:
        """Return what a graph of that precision may lose."""
        return self.quality or QUALITY[precision]


def check_quality(
    candidate: Artefact,
    reference: Artefact | None,
    criteria: QualityCriteria,
    progress: Progress,
) -> Artefact:
    """Measure what a narrower graph costs, and write it into its sidecar.

    Args:
        candidate: The graph.
        reference: The float32 graph; None for the eager network.
        criteria: What to judge on.
        progress: Advanced once an image.

    Returns:
        The candidate with its gate, passed or not.
    """
    limits = criteria.limits(candidate.manifest.precision)
    if criteria.data is None:
        candidate = stages.verify(candidate, reference, criteria.images, progress)
        return check_quality_by_parity(candidate, criteria)
    from hrvit_deploy.measure.accuracy.evaluate import evaluate_artefact

    ours = evaluate_artefact(candidate, criteria.data, criteria.options, progress)
    score = reference_score(reference, candidate, criteria, progress)
    gate = limits.check(ours.metric, score, ours.score, ours.images, str(criteria.data))
    return record(candidate, progress=progress, gate=gate)


def reference_score(
    reference: Artefact | None,
    candidate: Artefact,
    criteria: QualityCriteria,
    progress: Progress,
) -> float:
    """Measure mIoU or top-1 of the float32 graph, or without one of the eager network.

    Args:
        reference: The float32 graph; None for the network the candidate came from.
        candidate: The narrower graph.
        criteria: With labelled images.
        progress: Advanced once an image.
    """
    from hrvit_deploy.measure.accuracy.evaluate import evaluate_artefact

    assert criteria.data is not None
    by = Implementation.EAGER if reference is None else Implementation.ARTEFACT
    return evaluate_artefact(
        reference or candidate,
        criteria.data,
        criteria.options,
        progress,
        run=RunOptions(implementation=by),
    ).score


def check_quality_by_parity(candidate: Artefact, criteria: QualityCriteria) -> Artefact:
    """Check the quality by a comparison that was just made on the criteria's images."""
    parity = candidate.manifest.parity
    assert parity is not None
    limits = criteria.limits(candidate.manifest.precision)
    where = str(criteria.images.folder or "bundled photographs")
    return record(
        candidate, gate=limits.check(AGREEMENT, 1.0, parity.agreement, parity.images, where)
    )


def recheck(
    candidate: Artefact,
    reference: Artefact | None,
    criteria: QualityCriteria,
    progress: Progress,
) -> Artefact:
    """Judge a graph that was made before: its figures stand, the limits are today's.

    Measured anew where other images are given or nothing was measured. A graph that came
    quantized has no float32 graph, and is not judged.

    Raises:
        UsageError: A gate is asked for where there is nothing to hold it against.
    """
    manifest = candidate.manifest
    if manifest.quantization is not None and manifest.quantization.method == ELSEWHERE:
        if criteria.quality is not None or criteria.data is not None:
            raise UsageError(
                f"{candidate.path.name} came quantized: there is nothing to judge it by",
                "leave the gate out, and hrvit-deploy evaluate the graph or the engine",
            )
        progress.note(f"{candidate.path.name} came quantized: it is built as it is, unjudged")
        return candidate
    gate = manifest.gate
    if gate is None or criteria.remeasure:
        return check_quality(candidate, reference, criteria, progress)
    limits = criteria.limits(manifest.precision)
    verdict = limits.check(gate.metric, gate.reference, gate.candidate, gate.images, gate.data)
    return record(candidate, progress=progress, gate=verdict)


def require_parity(artefact: Artefact) -> None:
    """Refuse to go on with an artefact that missed its gates.

    Raises:
        GateError: It did.
    """
    parity = artefact.manifest.parity
    if parity is not None and not parity.passed:
        raise GateError(
            f"{artefact.path} does not answer as {parity.reference} does: {parity.note}",
            "loosen the gates if that is good enough, or take another precision",
        )


def is_held(candidate: Artefact, criteria: QualityCriteria) -> bool:
    """Return whether a missed gate counts: for random weights, only a given one does."""
    random = candidate.manifest.network.weights is Weights.RANDOM
    return not random or criteria.quality is not None


def missed(candidate: Artefact, criteria: QualityCriteria, progress: Progress) -> bool:
    """Warn of a missed gate, and return whether it counts.

    Args:
        candidate: With a gate in its sidecar.
        criteria: What it was checked on.
        progress: Warned.
    """
    gate = candidate.manifest.gate
    if gate is None or gate.passed:
        return False
    counts = is_held(candidate, criteria)
    advice = "add --auto" if counts else "the weights are random, so this is told only"
    progress.warn(f"{describe(gate)}; {advice}")
    return counts


def require_quality(candidate: Artefact, criteria: QualityCriteria, progress: Progress) -> None:
    """Refuse to go on with a graph that loses more than it may.

    Raises:
        GateError: It does; with the figures, and what to do.
    """
    gate = candidate.manifest.gate
    if gate is None or gate.passed:
        return
    if not is_held(candidate, criteria):
        progress.warn(
            f"{describe(gate)}; the weights are random and decide by chance, so this is told"
            " and not held against the graph"
        )
        return
    quantized = candidate.manifest.quantization is not None
    raise GateError(
        f"{candidate.path}: {describe(gate)}",
        "add --auto to leave the worst products in float, calibrate on more or other images,"
        " or build --fp16"
        if quantized
        else "take another precision, or loosen the gate with --max-drop or --min-agreement",
    )


def describe(gate: Gate) -> str:
    """Describe a gate in words."""
    if gate.metric == AGREEMENT:
        return (
            f"{gate.candidate:.4f} of the decisions are the float32 graph's on {gate.images}"
            f" images, and {gate.limit:.4f} must be"
        )
    drop, allowed = gate.reference - gate.candidate, gate.reference - gate.limit
    return (
        f"{gate.metric} is {gate.candidate:.4f} against {gate.reference:.4f} in float32 on"
        f" {gate.images} images: a loss of {100 * drop:.2f} points, and {100 * allowed:.2f}"
        " are allowed"
    )
