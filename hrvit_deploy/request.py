"""Which network is wanted, in words that need no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrvit_deploy.model.variants import Variant
from hrvit_deploy.options import Task


@dataclass(frozen=True)
class Request:
    """A network to load.

    Attributes:
        variant: From the table or a file.
        task: None takes the checkpoint's, or classification without one.
        checkpoint: None gives seeded random weights.
        num_classes: None takes the checkpoint's, or the task's usual number.
        seed: Of random weights.
    """

    variant: Variant
    task: Task | None = None
    checkpoint: Path | None = None
    num_classes: int | None = None
    seed: int = 0
