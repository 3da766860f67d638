"""What is to be measured, on what, and where things lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.cases import Case
from benchmarks.gpu.candidates import CUDA, TELLING, Entry, entries_for
from benchmarks.gpu.rounds import Pace
from hrvit_deploy.errors import UsageError
from hrvit_deploy.model.variants import Variant
from hrvit_deploy.options import ImageSize, Task

# What a quick run measures means nothing: it shows that everything goes its way.
QUICK = Pace(rounds=2, turn_s=0.01, pause_s=0.0, timeout_s=300.0)


class Shape(NamedTuple):
    """What the network is given, and for what."""

    task: Task
    size: ImageSize
    batch: int = 1

    @property
    def name(self) -> str:
        """``classify-224x224``, or ``classify-224x224-b8``."""
        batch = f"-b{self.batch}" if self.batch > 1 else ""
        return f"{self.task}-{self.size}{batch}"


# Batch 1 first: it is what targets are of.
SHAPES = tuple(
    Shape(task, size, batch)
    for batch in (1, 8)
    for task, size in (
        (Task.CLASSIFY, ImageSize(224, 224)),
        (Task.SEGMENT, ImageSize(512, 512)),
        (Task.SEGMENT, ImageSize(1024, 2048)),
    )
)
QUICK_SHAPES = (Shape(Task.CLASSIFY, ImageSize(64, 64)),)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        entries: The first is the anchor.
    """

    variants: tuple[Variant, ...]
    entries: tuple[Entry, ...]
    shapes: tuple[Shape, ...] = SHAPES
    device: str = CUDA
    pace: Pace = field(default_factory=Pace)

    def cases(self) -> list[Case]:
        """Every shape of the first variant before the next variant's."""
        return [Case(variant, *shape) for variant in self.variants for shape in self.shapes]

    def stages(self) -> list[tuple[Entry, ...]]:
        """What is timed in every case before anything else is in any."""
        telling = tuple(entry for entry in self.entries if entry in TELLING)
        others = tuple(entry for entry in self.entries if entry not in TELLING)
        return [telling, others] if self.device == CUDA else [self.entries]


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
        out: The JSON; the chart goes beside it.
        work: Engines, compiled code and answers to compare with.
        prepared: Graphs made elsewhere; None to make them in ``work``.
        library: Of TensorRT 8.5; None leaves it out.
    """

    out: Path
    work: Path
    prepared: Path | None = None
    library: Path | None = None


def quick(plan: Plan) -> Plan:
    """The same road on one image too small to mean anything."""
    return replace(plan, shapes=QUICK_SHAPES, pace=QUICK)


def choose_shapes(names: str) -> tuple[Shape, ...]:
    """Shapes by name, in the order of :data:`SHAPES`; all for an empty text.

    Raises:
        UsageError: There is none of that name.
    """
    known = {shape.name: shape for shape in SHAPES}
    asked = [name for name in names.split(",") if name]
    for name in asked:
        if name not in known:
            raise UsageError(f"there is no case {name!r}", f"choose from {', '.join(known)}")
    return tuple(shape for name, shape in known.items() if not asked or name in asked)


def choose_entries(device: str, words: Sequence[str], *, trt8: bool) -> tuple[Entry, ...]:
    """The candidates whose names hold one of those words, and always the anchor.

    Raises:
        UsageError: A word is in no name.
    """
    anchor, *others = entries_for(device, trt8=trt8)
    for word in words:
        if not any(word in entry.name for entry in (anchor, *others)):
            raise UsageError(
                f"no candidate has {word!r} in its name",
                f"choose words of {'; '.join(entry.name for entry in (anchor, *others))}",
            )
    chosen = (e for e in others if not words or any(word in e.name for word in words))
    return (anchor, *chosen)
