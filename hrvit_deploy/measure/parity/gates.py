"""How far from the reference an output may lie, for each precision."""

from __future__ import annotations

from dataclasses import dataclass

from hrvit_deploy.artefact import Gate
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import Precision
from hrvit_deploy.verdict import AGREEMENT


@dataclass(frozen=True)
class Gates:
    """Limits a comparison must keep.

    Errors are measured against the spread of the reference's own outputs, because the
    scale of logits differs from network to network and says nothing.

    Attributes:
        max_error: Largest absolute error, in standard deviations of the reference.
        mean_error: Mean absolute error, in standard deviations of the reference.
        cosine: Least cosine of the two outputs, all elements as one vector.
        agreement: Least share of images, or of pixels, that get the same class.
    """

    max_error: float
    mean_error: float
    cosine: float
    agreement: float

    def __post_init__(self) -> None:
        for name in ("max_error", "mean_error"):
            # Written so that NaN is refused too.
            if not getattr(self, name) >= 0:
                raise UsageError(
                    f"a gate {name} of {getattr(self, name)} lets nothing through",
                    "give deviations of the reference, from 0 up",
                )
        for name in ("cosine", "agreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"a gate {name} of {getattr(self, name)} is no share",
                    "give a number from 0 to 1",
                )


# A rounding errs by its unit u: 6e-8 in float32, 5e-4 in float16, 4e-3 in bfloat16. Some
# two hundred products stand one behind another, each followed by a norm or a sum that evens
# errors out. Measured on b1 against eager PyTorch, over photographs, with random weights:
#
#                       max_error   mean_error   1 - cosine   1 - agreement
#   fp32 classify 224      2e-6        3e-7        8e-14           0
#   fp32 segment 512       7e-6        6e-7        3e-13         2e-6
#   fp16 classify 224      3e-3        6e-4        3e-7            0
#   fp16 segment 512       2e-2        2e-3        2e-6          5e-3
#   bf16 classify 224      4e-2        6e-3          -           3e-2
#   bf16 segment 512       1e-1        1e-2        1e-4          4e-2
#
# That is about 3 u in the mean and ten times as much at worst. Gates leave a factor of
# three to ten for other networks, narrow ones above all, and other orders of summation, and
# fifteen in float32, where a GPU may choose faster convolutions; TF32 is no float32 and
# needs fp16's gates.
# A mistake in the graph, such as a wrong mask or norm, errs by a tenth or more.
#
# Agreement falls because of near ties, which random weights have more of than trained ones:
# between the best two of many scores lies a third of a deviation, so that a mean error of e
# turns some 3 e of the decisions. Eight images with one turned agree by 0.875.
#
# INT8 steps are 1/127 of a tensor's range, some 3 % of its spread, and E4M3 keeps three
# bits, 6 % at worst: five to ten times bfloat16's. Their gates are taken from that.
GATES = {
    Precision.FP32: Gates(max_error=1e-4, mean_error=1e-5, cosine=0.999999, agreement=0.999),
    Precision.FP16: Gates(max_error=0.1, mean_error=6e-3, cosine=0.9999, agreement=0.98),
    Precision.BF16: Gates(max_error=1.0, mean_error=8e-2, cosine=0.995, agreement=0.85),
    Precision.INT8: Gates(max_error=2.0, mean_error=0.15, cosine=0.98, agreement=0.8),
    Precision.FP8: Gates(max_error=2.5, mean_error=0.2, cosine=0.97, agreement=0.75),
}


@dataclass(frozen=True)
class QualityLimits:
    """What a narrower graph may cost in what the network is for.

    Attributes:
        drop: Largest loss of mIoU or top-1 against float32 on labelled images, as a share:
            0.01 is a point.
        agreement: Least mean intersection over union with the float graph's decisions, over
            the classes it decides, where there are no labels.
    """

    drop: float
    agreement: float

    def __post_init__(self) -> None:
        for name in ("drop", "agreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"a gate {name} of {getattr(self, name)} is no share",
                    "give a number from 0 to 1; a point is 0.01",
                )

    def check(self, measured: Measured, *, held: bool = True) -> Gate:
        """Hold what a narrower graph reaches against what the float one does.

        Args:
            measured: Both figures, and what they were measured on.
            held: Whether a miss counts.

        Returns:
            The gate; neither passed nor failed where it could not fail on these data.
        """
        agrees = measured.metric == AGREEMENT
        limit = self.agreement if agrees else measured.reference - self.drop
        unjudged = measured.unjudged or _cannot_fail(measured, limit)
        return Gate(
            metric=measured.metric,
            reference=measured.reference,
            candidate=measured.candidate,
            limit=limit,
            # Written so that NaN fails.
            passed=bool(measured.candidate >= limit) and not unjudged,
            images=measured.images,
            data=measured.data,
            constant=measured.constant,
            share=measured.share,
            unjudged=unjudged,
            held=held,
            seen=measured.seen,
        )


@dataclass(frozen=True)
class Measured:
    """What a narrower graph and its float one reach, on the same images.

    Attributes:
        metric: ``miou`` or ``top1``; or ``agreement``, whose reference is 1.
        reference: What the float graph reaches.
        candidate: What the narrower one reaches.
        images: How many they were measured on.
        data: Where those are.
        constant: What the best answer reaches that is one class everywhere.
        share: Of equal decisions, with ``agreement``.
        unjudged: Why these images can judge nothing; empty where they can.
        seen: How many of the images the narrower graph was calibrated on.
    """

    metric: str
    reference: float
    candidate: float
    images: int
    data: str = ""
    constant: float = 0.0
    share: float | None = None
    unjudged: str = ""
    seen: int | None = None

    @classmethod
    def of(cls, gate: Gate) -> Measured:
        """Return what a gate measured, to be held to another limit."""
        return cls(
            gate.metric,
            gate.reference,
            gate.candidate,
            gate.images,
            gate.data,
            gate.constant or 0.0,
            gate.share,
            gate.unjudged,
            gate.seen,
        )


def _cannot_fail(measured: Measured, limit: float) -> str:
    """Say why a limit judges nothing on some data, if it does not."""
    where = f"on {measured.images} images"
    if measured.images < LEAST_IMAGES:
        return f"{measured.images} image is too few to judge by, {LEAST_IMAGES} are the least"
    if measured.metric != AGREEMENT and not above_chance(measured.reference, measured.constant):
        return (
            f"{measured.metric} of the float32 graph is {measured.reference:.4f} {where}, no"
            f" better than one class everywhere ({measured.constant:.4f}): the labels do not"
            " fit the network"
        )
    if limit <= 0:
        return f"the least that passes is {limit:.4f}, which any answer reaches"
    if measured.constant >= limit:
        return (
            f"one class everywhere would reach {measured.constant:.4f} {where}, and"
            f" {limit:.4f} suffices"
        )
    return ""


def above_chance(score: float, constant: float) -> bool:
    """Return whether a score is clearly better than the best answer of one class everywhere.

    Args:
        score: mIoU or top-1, from 0 to 1.
        constant: The same of that answer; 1 where the labels are of one class.
    """
    return score - constant > CHANCE * (1 - constant)


# Of the way from one class everywhere to all right: less than this is chance.
CHANCE = 0.02
LEAST_IMAGES = 2
# A point of mIoU is what quantization papers call lossless; a float16 graph has no excuse
# for more than the noise of a validation set. Agreement is averaged over classes, so that a
# rare one counts as much as the commonest.
QUALITY = {
    Precision.FP32: QualityLimits(drop=0.002, agreement=0.995),
    Precision.FP16: QualityLimits(drop=0.002, agreement=0.99),
    Precision.BF16: QualityLimits(drop=0.01, agreement=0.95),
    Precision.INT8: QualityLimits(drop=0.01, agreement=0.95),
    Precision.FP8: QualityLimits(drop=0.01, agreement=0.93),
}
