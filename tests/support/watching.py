"""Somebody who counts what progress tells."""

from __future__ import annotations

from hrvit_deploy.progress import SilentProgress, Step


class Counting(SilentProgress):
    """Counts the steps of every bar.

    Attributes:
        total: Steps announced, over all bars.
        steps: Steps done.
        finished: Bars that ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = self.steps = self.finished = 0

    def start(self, label: str, total: int | None = None) -> Step:
        self.total += total or 0
        return self

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def finish(self) -> None:
        self.finished += 1
