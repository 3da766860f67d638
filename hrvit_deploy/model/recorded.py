"""What a checkpoint says of the images it was trained on, where its trainer saved that.

mmsegmentation keeps its configuration as text, timm's training script its options, and
safetensors have metadata of their own. All of it is a stranger's: read as data, within bounds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from hrvit_deploy.model.checkpoint_file import read_metadata
from hrvit_deploy.model.inert_pickle import Inert
from hrvit_deploy.normalisation import WHITE, written

COLORS = 3
# Where mmsegmentation has its configuration, before and since its version 1.
CONFIGURATIONS = (("meta", "config"), ("meta", "cfg"))
LONGEST = 1_000_000
NUMBERS = r"['\"]?\s*[=:]\s*[\[(]([-+\d.,eE\s]{1,200})[\])]"
TO_RGB = re.compile(r"\b(?:bgr_)?to_rgb['\"]?\s*[=:]\s*(True|False)\b")
# Numbers that are the same, but for how they were rounded.
ROUNDED = 0.5


@dataclass(frozen=True)
class Recorded:
    """How training images were normalised.

    Attributes:
        mean: Per channel, RGB, on a 0..255 scale; empty where nothing says it, as is ``std``.
        blue_first: Whether channels stood in the order blue, green, red.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    blue_first: bool = False

    def agrees(self, mean: Sequence[float], std: Sequence[float]) -> bool:
        """Return whether that is a normalisation of the same, and in the same order."""
        pairs = (*zip(self.mean, mean, strict=False), *zip(self.std, std, strict=False))
        same = all(abs(ours - theirs) <= ROUNDED for ours, theirs in pairs)
        return bool(self.mean) and same and not self.blue_first

    def doubt(self, mean: Sequence[float], std: Sequence[float]) -> str:
        """Describe how a normalisation differs from the one recorded; empty if it does not."""
        if not self.mean or self.agrees(mean, std):
            return ""
        order = ", on channels in the order blue, green, red" if self.blue_first else ""
        told = (
            f"the checkpoint says its images had a mean of {written(self.mean)} and a deviation"
            f" of {written(self.std)}{order}, and not {written(mean)} and {written(std)}"
        )
        if self.blue_first:
            return (
                f"{told}: images are RGB here; turn the input channels of the first convolution"
                f" round, and give --mean {written(self.mean[::-1])}"
                f" --std {written(self.std[::-1])}"
            )
        return f"{told}: give --mean {written(self.mean)} --std {written(self.std)}"


def read_recorded(loaded: Any, path: Path) -> Recorded:
    """Read what a checkpoint says of its training images; nothing where it says nothing.

    Args:
        loaded: What :func:`read_file` returned.
        path: The file, for the metadata of safetensors.
    """
    for recorded in (_in_metadata(path), _in_configuration(loaded), _in_options(loaded)):
        if recorded is not None:
            return recorded
    return Recorded()


def _in_metadata(path: Path) -> Recorded | None:
    metadata = read_metadata(path)
    return _checked(_decoded(metadata.get("mean")), _decoded(metadata.get("std")))


def _in_configuration(loaded: Any) -> Recorded | None:
    """Read mmsegmentation's, whose images are always 0..255."""
    for keys in CONFIGURATIONS:
        entry = loaded
        for key in keys:
            entry = entry.get(key) if isinstance(entry, Mapping) else None
        if isinstance(entry, str):
            text = entry[:LONGEST]
            blue_first = set(TO_RGB.findall(text)) == {"False"}
            found = _checked(_only(text, "mean"), _only(text, "std"), white=1)
            if found is not None:
                return replace(found, blue_first=blue_first)
    return None


def _in_options(loaded: Any) -> Recorded | None:
    """Read those of timm's training script."""
    options = loaded.get("args") if isinstance(loaded, Mapping) else None
    if isinstance(options, Inert) and isinstance(options.state, Mapping):
        return _checked(options.state.get("mean"), options.state.get("std"))
    return None


def _checked(mean: Any, std: Any, white: float = WHITE) -> Recorded | None:
    """Return what is a mean and a deviation; those up to 1 times ``white``."""
    if not (_are_three(mean) and _are_three(std) and min(std) > 0):
        return None
    scale = white if all(abs(value) <= 1 for value in (*mean, *std)) else 1.0
    return Recorded(
        tuple(scale * float(value) for value in mean),
        tuple(scale * float(value) for value in std),
    )


def _decoded(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _only(text: str, name: str) -> tuple[float, ...] | None:
    """Return the list of that name in a configuration, if all of that name are alike."""
    found = {match[1] for match in islice(re.finditer(rf"\b{name}{NUMBERS}", text), 100)}
    lists = set()
    for numbers in found:
        try:
            lists.add(tuple(float(part) for part in numbers.split(",") if part.strip()))
        except ValueError:
            return None
    return lists.pop() if len(lists) == 1 else None


def _are_three(values: Any) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == COLORS
        and all(isinstance(value, int | float) and abs(value) < WHITE * 2 for value in values)
        and all(math.isfinite(value) for value in values)
    )
