"""What a narrower graph costs in what the network is for, and whether that is too much.

The task says: mIoU or top-1 on labelled images; where there are none, how far the decisions
are the float32 graph's, in the mean over its classes. Where the images could not tell a good
graph from a bad one, that is said, and is no pass. See :mod:`hrvit_deploy.verdict` for what
follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy.artefact import ELSEWHERE, Artefact, Gate, Parity, Weights, record
from hrvit_deploy.datasets import LabelOrientation
from hrvit_deploy.errors import UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.parity.gates import QUALITY, Measured, QualityLimits
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import Implementation, RunOptions
from hrvit_deploy.verdict import AGREEMENT, Outcome, accept, advice, require_usable, verdict_of

if TYPE_CHECKING:
    from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, Evaluation


@dataclass(frozen=True)
class QualityCriteria:
    """What a graph is judged on, and what it may lose.

    Attributes:
        data: Labelled images, laid out as :mod:`hrvit_deploy.datasets` knows; None judges
            by agreement with the float32 graph on ``images``.
        images: Without labels.
        samples: Labelled images at most; None for all.
        labels: What label maps are drawn on where EXIF turns their images.
        labels_from: What label maps call the first class, 0 or 1; None for what their
            layout does.
        quality: None takes those of the precision. Only a gate that is given holds for
            random weights, whose decisions are near ties.
        remeasure: Measure on these images even what was judged before.
        accept: Take what misses all the same, and say so in its sidecar.
    """

    data: Path | None = None
    images: ImageSource = field(default_factory=ImageSource)
    samples: int | None = None
    labels: LabelOrientation | None = None
    labels_from: int | None = None
    quality: QualityLimits | None = None
    remeasure: bool = False
    accept: bool = False

    @property
    def options(self) -> EvaluateOptions:
        """How labelled images are judged."""
        from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions

        return EvaluateOptions(
            samples=self.samples, labels=self.labels, labels_from=self.labels_from
        )

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
    if criteria.data is None:
        candidate = stages.verify(candidate, reference, criteria.images, progress)
        return check_quality_by_parity(candidate, criteria, progress)
    from hrvit_deploy.measure.accuracy.evaluate import evaluate_artefact

    ours = evaluate_artefact(candidate, criteria.data, criteria.options, progress)
    theirs = reference_evaluation(reference, candidate, criteria, progress)
    measured = Measured(
        metric=ours.metric,
        reference=theirs.score,
        candidate=ours.score,
        images=ours.images,
        data=str(criteria.data),
        constant=theirs.constant,
        unjudged=theirs.doubt or "",
        seen=_seen(candidate, criteria),
    )
    return _gated(candidate, measured, criteria, progress)


def _seen(candidate: Artefact, criteria: QualityCriteria) -> int | None:
    """Count the labelled images that were calibrated on, where that is known."""
    from hrvit_deploy.measure.accuracy.evaluate import labelled_data

    if not criteria.images.avoid or criteria.data is None:
        return None
    chosen = labelled_data(criteria.data, candidate.manifest.network).chosen(criteria.samples)
    return sum(sample.image.resolve() in criteria.images.avoid for sample in chosen)


def judged_apart(criteria: QualityCriteria, calibrated: frozenset[Path]) -> QualityCriteria:
    """Return criteria that judge on other images than were calibrated on, if there are any."""
    return replace(criteria, images=replace(criteria.images, avoid=calibrated))


def reference_evaluation(
    reference: Artefact | None,
    candidate: Artefact,
    criteria: QualityCriteria,
    progress: Progress,
) -> Evaluation:
    """Evaluate the float32 graph on labelled images, or without one the eager network.

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
    )


def check_quality_by_parity(
    candidate: Artefact, criteria: QualityCriteria, progress: Progress
) -> Artefact:
    """Check the quality by a comparison that was just made on the criteria's images."""
    gate = gate_of_parity(candidate, criteria)
    if gate is None:
        progress.note(
            f"{candidate.path.name} returns neither scores nor labels: it is judged by how far"
            " its numbers lie from the float32 graph's, and by nothing that they decide"
        )
        return record(candidate, gate=None)
    return _noted(candidate, gate, progress)


def gate_of_parity(candidate: Artefact, criteria: QualityCriteria) -> Gate | None:
    """Hold what a comparison found of the decisions to the quality gate, and note it nowhere.

    Args:
        candidate: Compared on the criteria's images.
        criteria: With the limits.

    Returns:
        The gate; None where nothing is decided.
    """
    parity = candidate.manifest.parity
    assert parity is not None
    if parity.class_agreement is None:
        return None
    measured = Measured(
        metric=AGREEMENT,
        reference=1.0,
        candidate=parity.class_agreement,
        images=parity.images,
        data=str(criteria.images.folder or "bundled photographs"),
        constant=parity.constant_agreement or 0.0,
        share=parity.agreement,
        unjudged=_undecided(parity),
        seen=criteria.images.seen(candidate.manifest.preparation.size),
    )
    return _held(candidate, measured, criteria)


def _undecided(parity: Parity) -> str:
    """Say why the decisions of a comparison judge nothing, if they do not."""
    if parity.constant_share == parity.constant_agreement:
        return (
            f"the float32 graph decides one class everywhere on the {parity.images} images, so"
            " that agreement with it tells nothing"
        )
    return parity.unjudged


def _held(candidate: Artefact, measured: Measured, criteria: QualityCriteria) -> Gate:
    limits = criteria.limits(candidate.manifest.precision)
    return limits.check(measured, held=is_held(candidate, criteria))


def _gated(
    candidate: Artefact, measured: Measured, criteria: QualityCriteria, progress: Progress
) -> Artefact:
    return _noted(candidate, _held(candidate, measured, criteria), progress)


def _noted(candidate: Artefact, gate: Gate, progress: Progress) -> Artefact:
    """Write a gate into a sidecar; one that judges nothing takes no earlier one's place."""
    if _keeps(candidate.manifest.gate, gate):
        progress.note(f"{candidate.sidecar} keeps the verdict that other images gave")
        return replace(candidate, manifest=replace(candidate.manifest, gate=gate))
    return record(candidate, progress=progress, gate=gate)


def _keeps(before: Gate | None, now: Gate | None) -> bool:
    """Return whether an earlier gate stays in the sidecar."""
    judged = before is not None and not before.unjudged
    return judged and now is not None and bool(now.unjudged)


def recheck(
    candidate: Artefact,
    reference: Artefact | None,
    criteria: QualityCriteria,
    progress: Progress,
) -> Artefact:
    """Judge a graph that was made before: its figures stand, the limits are today's.

    What was missed stays missed, unless limits are given. Where the criteria say so, it is
    accepted; what these images cannot tell takes no place of what was told before.

    Measured anew where other images are given or nothing was measured. A graph that came
    quantized has no float32 graph, and is not judged.

    Raises:
        UsageError: A gate is asked for where there is nothing to hold it against.
    """
    judged = _judge_again(candidate, reference, criteria, progress)
    if not criteria.accept:
        return judged
    kept = _keeps(candidate.manifest.gate, judged.manifest.gate)
    return accept(candidate if kept else judged, progress)


def _judge_again(
    candidate: Artefact,
    reference: Artefact | None,
    criteria: QualityCriteria,
    progress: Progress,
) -> Artefact:
    manifest = candidate.manifest
    if reference is None and not _judgeable(candidate):
        if criteria.quality is not None or criteria.data is not None:
            raise UsageError(
                f"{candidate.path.name} came quantized: there is nothing to judge it by",
                "leave the gate out, and hrvit-deploy evaluate the graph or the engine",
            )
        progress.note(f"{candidate.path.name} came quantized: it is built as it is, unjudged")
        return candidate
    gate = manifest.gate
    # Agreement of earlier versions counted every pixel alike, and had no share beside it.
    outdated = gate is not None and gate.metric == AGREEMENT and gate.share is None
    if gate is None or outdated or gate.unjudged or criteria.remeasure:
        return check_quality(candidate, reference, criteria, progress)
    if criteria.quality is None and gate.held and not gate.passed:
        # A miss stands, accepted or not, unless other limits are given now.
        return candidate
    return _gated(candidate, Measured.of(gate), criteria, progress)


def _judgeable(candidate: Artefact) -> bool:
    """Return whether there is a network in PyTorch to judge a graph by, or was once a gate.

    Of a graph that came quantized nobody knows one, unless it was compared with it when it
    was taken in.
    """
    manifest = candidate.manifest
    elsewhere = manifest.quantization is not None and manifest.quantization.method == ELSEWHERE
    known = manifest.origin is not None and manifest.network.variant is not None
    return not elsewhere or known


def is_held(candidate: Artefact, criteria: QualityCriteria) -> bool:
    """Return whether a missed gate counts: for random weights, only a given one does."""
    random = candidate.manifest.network.weights is Weights.RANDOM
    return not random or criteria.quality is not None


def require_quality(candidate: Artefact, progress: Progress) -> None:
    """Refuse to go on with what is not good enough; tell what is not held against it.

    Raises:
        GateError: It misses, or cannot be judged; with the figures, and what to do.
    """
    require_usable(candidate)
    tell(candidate, progress)


def tell(candidate: Artefact, progress: Progress) -> None:
    """Warn of all that a verdict has in it but a plain pass.

    Args:
        candidate: Just made, or judged again.
        progress: Warned.
    """
    manifest = candidate.manifest
    verdict = verdict_of(manifest)
    if verdict.outcome is Outcome.TOLD:
        progress.warn(
            f"{verdict.reason}; the weights are random and decide by chance, so this is told"
            " and not held against the graph"
        )
    elif verdict.outcome is Outcome.ACCEPTED:
        progress.warn(f"{candidate.path.name} is taken in spite of this: {verdict.reason}")
    elif not verdict.usable:
        progress.warn(f"{candidate.path} is refused: {verdict}; {advice(manifest)}")
    gate = manifest.gate
    if verdict.usable and gate is not None and gate.seen:
        some = "all" if gate.seen >= gate.images else f"{gate.seen}"
        progress.warn(
            f"{some} of the {gate.images} images it was judged on were calibrated on too:"
            " give others with --data, or more with --images"
        )
