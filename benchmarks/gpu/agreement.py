"""How far a candidate's output lies from eager FP32's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.candidates import Job
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.inference.labels import labels_of
from hrvit_deploy.measure.parity.errors import Agreement, Errors
from hrvit_deploy.options import ImageSize, OutputFormat


def judge(job: Job, answer: NDArray[np.float32]) -> dict[str, Any]:
    """How far an answer lies from eager FP32's; of that itself, it is written down instead.

    Raises:
        RunnerError: It has another shape.
    """
    ends = answer[[0, -1][: len(answer)]]
    if job.answer:
        np.save(job.answer, ends)
        return {}
    return compare(ends, np.load(job.expected, mmap_mode="r"), ImageSize(*job.size))


def compare(
    answer: NDArray[Any], expected: NDArray[Any], size: ImageSize
) -> dict[str, float | int | None]:
    """Errors in deviations of what was expected, and how many decisions stay.

    Args:
        answer: Logits of some images.
        expected: Eager FP32's of the same.
        size: Of the images, in pixels.

    Returns:
        None for an error where an answer is not finite throughout.
    """
    if answer.shape != expected.shape:
        raise RunnerError(f"it answers in the shape {answer.shape}, not {expected.shape}")
    errors, agreement = Errors(), Agreement()
    errors.add("images", answer, expected)
    decided = [labels_of(np.asarray(x), OutputFormat.LOGITS, size) for x in (answer, expected)]
    agreement.add(*decided)
    deviation = errors.deviation or 1.0
    finite = not errors.not_finite
    return {
        "max_abs_error": errors.max_abs if finite else None,
        "relative_error": errors.max_abs / deviation if finite else None,
        "mean_error": errors.mean_abs / deviation if finite else None,
        "agreement": agreement.share,
        "not_finite": errors.not_finite,
    }
