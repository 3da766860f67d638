"""How far from the reference an answer may lie, for each precision."""

from __future__ import annotations

from dataclasses import dataclass

from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import Precision


@dataclass(frozen=True)
class Gates:
    """Limits a comparison must keep.

    Errors are measured against the spread of the reference's own answers, because the
    scale of logits differs from network to network and says nothing.

    Attributes:
        max_error: Largest absolute error, in standard deviations of the reference.
        mean_error: Mean absolute error, likewise.
        cosine: Least cosine of the two answers, all elements as one vector.
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
# two hundred products stand one behind another, and independent errors grow with the root
# of their number, so an answer errs by 10 to 15 u of its spread; mean_error is 10 u, or for
# float32, where folded norms and other orders of summation weigh more, well above. The
# largest of millions of elements is taken at twenty times the mean. The cosine follows: an
# error of r deviations turns the answer by r, and cos r is 1 - r*r/2.
#
# INT8 steps are 1/127 of a tensor's range, some 3 % of its spread; E4M3 keeps three bits,
# 6 % at worst. Both err by 10 to 20 % at the end.
#
# Agreement falls because of near ties: between the best two of many equally spread scores
# lies a third of a deviation on average, so errors of e deviations turn some 4 e of the
# decisions. Trained networks decide more clearly and stay well inside.
GATES = {
    Precision.FP32: Gates(max_error=1e-3, mean_error=1e-4, cosine=0.99999, agreement=0.999),
    Precision.FP16: Gates(max_error=0.1, mean_error=5e-3, cosine=0.9999, agreement=0.98),
    Precision.BF16: Gates(max_error=0.8, mean_error=4e-2, cosine=0.998, agreement=0.9),
    Precision.INT8: Gates(max_error=2.0, mean_error=0.15, cosine=0.98, agreement=0.8),
    Precision.FP8: Gates(max_error=2.5, mean_error=0.2, cosine=0.97, agreement=0.75),
}
