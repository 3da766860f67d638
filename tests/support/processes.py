"""Work in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def in_a_process(work: Callable[..., None], *arguments: Any) -> None:
    """Run what sends itself a signal: after some of OpenVINO's runs, one ends the process."""
    child = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    child.start()
    child.join(120)
    assert child.exitcode == 0
