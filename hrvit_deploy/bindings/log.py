"""What a TensorRT library says while it works.

The library keeps the first logger it is given for the whole process and ignores later
ones, so there is one per library, and listeners come and go.
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
    """Warnings and errors heard while listening, in order."""

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def error_text(self) -> str:
        """The errors as one line; the echo of an absent driver only if there is no other."""
        lines = [one_line(text) for text in self.errors]
        telling = [line for line in lines if "catchCudaError" not in line]
        return "; ".join(dict.fromkeys(telling or lines))


def one_line(text: str) -> str:
    """A message without its line breaks and indents."""
    return " ".join(text.split())


@contextmanager
def listening(trt: ModuleType) -> Iterator[Log]:
    """Collect what the library says until the block ends."""
    log = Log()
    listeners = logger(trt).listeners
    listeners.append(log)
    try:
        yield log
    finally:
        # By identity: two silent logs are equal.
        listeners[:] = [other for other in listeners if other is not log]


@functools.cache
def logger(trt: ModuleType) -> Any:
    """The library's one logger, to be passed wherever it asks for one."""

    class Recorder(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.listeners: list[Log] = []

        def log(self, severity: Any, msg: str) -> None:
            # Millions of verbose lines may come, from several threads: sort out first.
            if severity in (trt.ILogger.VERBOSE, trt.ILogger.INFO):
                return
            for log in tuple(self.listeners):
                (log.warnings if severity == trt.ILogger.WARNING else log.errors).append(msg)

    return Recorder()
