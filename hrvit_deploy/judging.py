"""What a narrower graph costs in what the network is for, and whether that is too much.

The task says: mIoU or top-1 on labelled images, or the share of decisions that stay the
float32 graph's where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import ELSEWHERE, Artefact, Gate, Weights, record
from hrvit_deploy.errors import GateError, UsageError
from hrvit_deploy.measure.gates import AGREEMENT, QUALITY, Quality
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline import Pictures
from hrvit_deploy.progress import Progress

if TYPE_CHECKING:
    from hrvit_deploy.measure.evaluate import EvaluateOptions


@dataclass(frozen=True)
class Evidence:
    """What a graph is judged on, and what it may lose.

    Attributes:
        data: Labelled images, laid out as :mod:`hrvit_deploy.datasets` knows; None judges
            by agreement with the float32 graph on ``pictures``.
        pictures: Without labels.
        samples: Labelled images at most; None for all.
        quality: None takes those of the precision. Only a gate that is given holds for
            random weights, whose decisions are near ties.
        fresh: Judge on these images even what was judged before.
    """

    data: Path | None = None
    pictures: Pictures = field(default_factory=Pictures)
    samples: int | None = None
    quality: Quality | None = None
    fresh: bool = False

    @property
    def options(self) -> EvaluateOptions:
        """How labelled images are judged."""
        from hrvit_deploy.measure.evaluate import EvaluateOptions

        return EvaluateOptions(samples=self.samples)

    def limits(self, precision: Precision) -> Quality:
        """What a graph of that precision may lose."""
        return self.quality or QUALITY[precision]


def judge(
    candidate: Artefact, reference: Artefact | None, evidence: Evidence, progress: Progress
) -> Artefact:
    """Measure what a narrower graph costs, and write it into its sidecar.

    Args:
        candidate: The graph.
        reference: The float32 graph; None for the eager network.
        evidence: What to judge on.
        progress: Advanced once an image.

    Returns:
        The candidate with its gate, passed or not.
    """
    limits = evidence.limits(candidate.manifest.precision)
    if evidence.data is None:
        candidate = pipeline.verify(candidate, reference, evidence.pictures, progress)
        return judge_by_parity(candidate, evidence)
    ours = pipeline.evaluate(candidate, evidence.data, evidence.options, progress)
    score = reference_score(reference or candidate, evidence, progress, eager=reference is None)
    gate = limits.judge(ours.metric, score, ours.score, ours.images, str(evidence.data))
    return record(candidate, gate=gate)


def reference_score(
    reference: Artefact, evidence: Evidence, progress: Progress, *, eager: bool = False
) -> float:
    """MIoU or top-1 of the float32 graph on the labelled images."""
    assert evidence.data is not None
    return pipeline.evaluate(
        reference, evidence.data, evidence.options, progress, eager=eager
    ).score


def judge_by_parity(candidate: Artefact, evidence: Evidence) -> Artefact:
    """The verdict on a comparison that was just made on the evidence's pictures."""
    parity = candidate.manifest.parity
    assert parity is not None
    limits = evidence.limits(candidate.manifest.precision)
    where = str(evidence.pictures.folder or "bundled photographs")
    return record(
        candidate, gate=limits.judge(AGREEMENT, 1.0, parity.agreement, parity.images, where)
    )


def judge_again(
    candidate: Artefact, reference: Artefact | None, evidence: Evidence, progress: Progress
) -> Artefact:
    """Judge a graph that was made before: its figures stand, the limits are today's.

    Measured anew where other images are given or nothing was measured. A graph that came
    quantized has no float32 graph, and is not judged.

    Raises:
        UsageError: A gate is asked for where there is nothing to hold it against.
    """
    manifest = candidate.manifest
    if manifest.quantization is not None and manifest.quantization.method == ELSEWHERE:
        if evidence.quality is not None or evidence.data is not None:
            raise UsageError(
                f"{candidate.path.name} came quantized: there is nothing to judge it by",
                "leave the gate out, and hrvit-deploy evaluate the graph or the engine",
            )
        progress.note(f"{candidate.path.name} came quantized: it is built as it is, unjudged")
        return candidate
    gate = manifest.gate
    if gate is None or evidence.fresh:
        return judge(candidate, reference, evidence, progress)
    limits = evidence.limits(manifest.precision)
    verdict = limits.judge(gate.metric, gate.reference, gate.candidate, gate.images, gate.data)
    return record(candidate, gate=verdict)


def is_held(candidate: Artefact, evidence: Evidence) -> bool:
    """Whether a missed gate counts: random weights are held to a given one only."""
    random = candidate.manifest.network.weights is Weights.RANDOM
    return not random or evidence.quality is not None


def require_quality(candidate: Artefact, evidence: Evidence, progress: Progress) -> None:
    """Refuse to go on with a graph that loses more than it may.

    Raises:
        GateError: It does; with the figures, and what to do.
    """
    gate = candidate.manifest.gate
    if gate is None or gate.passed:
        return
    if not is_held(candidate, evidence):
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
    """A gate in words."""
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
