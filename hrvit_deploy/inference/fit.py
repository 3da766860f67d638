"""How an image of any size meets the one size a network takes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import ImageSize, Task


class Fit(StrEnum):
    """How an image becomes the network's input.

    ``stretch`` resizes it to the exact size; ``pad`` keeps its aspect and fills up the
    bottom or the right; ``slide`` moves a window of that size over it.
    """

    STRETCH = "stretch"
    PAD = "pad"
    SLIDE = "slide"


@dataclass(frozen=True)
class FitOptions:
    """How images are fitted; where one is seen more than once, the outputs are averaged.

    Attributes:
        fit: How an image becomes the input.
        stride: Height and width from one window to the next, in pixels; None for three
            quarters of the window, which is the HRViT paper's 768 for its 1024.
        flip: Look at each image mirrored, too.
        scales: Sizes to look at each image in, as factors of its own; windows only.
    """

    fit: Fit = Fit.STRETCH
    stride: ImageSize | None = None
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.fit is not Fit.SLIDE:
            if self.stride is not None:
                raise UsageError(
                    f"only windows have a stride, and --fit {self.fit} has none",
                    "add --fit slide, or leave --stride out",
                )
            if self.scales != (1.0,):
                raise UsageError(
                    f"--fit {self.fit} brings every scale to the network's one size",
                    "add --fit slide, or leave --scales out",
                )
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise UsageError(
                f"{', '.join(map(str, self.scales)) or 'nothing'} is no list of scales",
                "give factors above 0, such as 0.75,1,1.25",
            )
        if self.stride is not None and min(self.stride) < 1:
            raise UsageError(f"a stride of {self.stride} goes nowhere", "give 1 or more")

    def __str__(self) -> str:
        """Return the options of a command that say the same."""
        words = [f"--fit {self.fit}"]
        if self.stride is not None:
            words.append(f"--stride {self.stride}")
        if self.flip:
            words.append("--flip")
        if self.scales != (1.0,):
            words.append(f"--scales {','.join(f'{scale:g}' for scale in self.scales)}")
        return " ".join(words)

    def stride_for(self, window: ImageSize) -> ImageSize:
        """Return the step from one window of that size to the next, in pixels.

        Raises:
            UsageError: It is longer than a window, and would leave pixels out.
        """
        if self.stride is None:
            return ImageSize(*(side * 3 // 4 for side in window))
        if any(step > side for step, side in zip(self.stride, window, strict=True)):
            raise UsageError(
                f"a stride of {self.stride} leaves gaps between windows of {window}",
                f"give {window} or less",
            )
        return self.stride

    def check_task(self, task: Task) -> None:
        """Refuse windows for a network that judges whole images.

        Raises:
            UsageError: It does, and this is ``slide``.
        """
        if task is Task.CLASSIFY and self.fit is Fit.SLIDE:
            raise UsageError(
                "a classifier judges whole images, not windows of them",
                f"give --fit {Fit.STRETCH} or {Fit.PAD}",
            )


def parse_stride(text: str) -> ImageSize:
    """Parse ``"768"`` or ``"384x768"`` (height x width), in pixels.

    Raises:
        UsageError: Neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is not a stride", "give pixels such as 768, or 384x768")
    return ImageSize(int(match[1]), int(match[2] or match[1]))


def parse_scales(text: str) -> tuple[float, ...]:
    """Parse ``"0.75,1,1.25"`` as factors.

    Raises:
        UsageError: Not numbers.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no list of scales", "give factors above 0, such as 0.75,1,1.25"
        ) from error
