"""How far from the reference an output may lie, for each precision."""

from __future__ import annotations

from dataclasses import dataclass

from hrvit_deploy.artefact import Gate
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import Precision


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
        agreement: Least share of pixels, or images, that keep their class, where there are
            no labels.
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

    def check(
        self, metric: str, reference: float, candidate: float, images: int, data: str
    ) -> Gate:
        """Hold a figure against the float graph's.

        Args:
            metric: ``miou`` or ``top1``; or ``agreement``, whose reference is 1.
            reference: What the float graph reaches.
            candidate: What the narrower one reaches.
            images: How many it was measured on.
            data: Where those are.
        """
        limit = self.agreement if metric == AGREEMENT else reference - self.drop
        # Written so that NaN fails.
        passed = bool(candidate >= limit)
        return Gate(metric, reference, candidate, limit, passed, images, data)


AGREEMENT = "agreement"
# A point of mIoU is what quantization papers call lossless; a float16 graph has no excuse
# for more than the noise of a validation set.
QUALITY = {
    Precision.FP32: QualityLimits(drop=0.002, agreement=0.999),
    Precision.FP16: QualityLimits(drop=0.002, agreement=0.999),
    Precision.BF16: QualityLimits(drop=0.01, agreement=0.99),
    Precision.INT8: QualityLimits(drop=0.01, agreement=0.99),
    Precision.FP8: QualityLimits(drop=0.01, agreement=0.99),
}
