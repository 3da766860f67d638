"""One network at one size and batch."""

from __future__ import annotations

from typing import Any, NamedTuple

from hrvit_deploy.model.variants import NetworkSpec, Variant
from hrvit_deploy.options import ImageSize, Task

# As many as the golden weights of tests/golden have.
CLASSES = {Task.CLASSIFY: 1000, Task.SEGMENT: 19}


class Case(NamedTuple):
    """What is run: a network, with the random weights of seed 0, and its input."""

    variant: Variant
    task: Task
    size: ImageSize
    batch: int = 1

    @property
    def request(self) -> NetworkSpec:
        return NetworkSpec(self.variant, self.task, num_classes=CLASSES[self.task])

    @property
    def name(self) -> str:
        batch = f"-b{self.batch}" if self.batch > 1 else ""
        return f"{self.variant.name}-{self.task}-{self.size}{batch}"

    @property
    def key(self) -> dict[str, Any]:
        """How its row is found again."""
        return {"task": str(self.task), "size": str(self.size), "batch": self.batch}
