"""Everything this package raises on purpose.

HrvitDeployError            one line, and what to do about it
├── UsageError              options that cannot be meant
├── InputError              a file, folder or image that cannot be used
│   ├── CheckpointError     weights that do not fit the network
│   └── ArtefactError       an artefact whose bytes or sidecar do not fit
├── MissingDependency       a package or library that is not installed
├── StageError              a stage that ran and failed
│   ├── ExportError
│   ├── PrecisionError      a graph or engine not typed as asked
│   └── BuildError
├── RunnerError             a runner that cannot open, run or close
└── GateError               a measurement beyond its gate
"""

from __future__ import annotations


class HrvitDeployError(Exception):
    """What went wrong in one line, and in ``hint`` how to mend it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HrvitDeployError):
    """Options that contradict each other or cannot be meant."""

    exit_code = 2


class InputError(HrvitDeployError):
    """A file, folder or image that cannot be used."""


class CheckpointError(InputError):
    """Weights that cannot be read or do not fit the network."""


class ArtefactError(InputError):
    """An artefact whose bytes, sidecar, version or GPU do not fit."""


class MissingDependency(HrvitDeployError):
    """A package, library or driver this step needs and cannot find."""


class StageError(HrvitDeployError):
    """A stage that started and could not finish."""


class ExportError(StageError):
    """Tracing, checking or simplifying the ONNX graph failed."""


class PrecisionError(StageError):
    """A graph or an engine whose types are not those asked for."""


class BuildError(StageError):
    """A TensorRT backend refused the network or could not build it."""


class RunnerError(HrvitDeployError):
    """A runner could not open, run or close."""


class GateError(HrvitDeployError):
    """A measurement lies beyond its gate."""
