"""Collects the messages a TensorRT library logs while it works.

The library keeps the first logger it gets for the whole process and ignores later ones. So
there is one logger per library, and listeners are added and removed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class Log:
    """Warnings and errors that were logged while listening, in order."""

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def error_text(self) -> str:
        """Return the errors as one line.

        The echoes of an absent driver are left out, unless there is no other error.
        """
        lines = [one_line(text) for text in self.errors]
        informative = [line for line in lines if "catchCudaError" not in line]
        return "; ".join(dict.fromkeys(informative or lines))


def one_line(text: str) -> str:
    """Return a message without its line breaks and indents."""
    return " ".join(text.split())


@contextmanager
def listening(trt: ModuleType) -> Iterator[Log]:
    """Collect what the library logs until the block ends."""
    log = Log()
    listeners = logger(trt).listeners
    listeners.append(log)
    try:
        yield log
    finally:
        # By identity: two empty logs are equal.
        listeners[:] = [other for other in listeners if other is not log]


@functools.cache
def logger(trt: ModuleType) -> Any:
    """Return the library's one logger, to be passed wherever the library takes one."""

    class Recorder(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.listeners: list[Log] = []

        def log(self, severity: Any, msg: str) -> None:
            # Millions of verbose lines may come, from several threads: drop them first.
            if severity in (trt.ILogger.VERBOSE, trt.ILogger.INFO):
                return
            for log in tuple(self.listeners):
                (log.warnings if severity == trt.ILogger.WARNING else log.errors).append(msg)

    return Recorder()
