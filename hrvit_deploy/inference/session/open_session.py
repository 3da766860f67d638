"""What runs an artefact, as asked for; and why it cannot, where it cannot."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from hrvit_deploy.artefact import Artefact, Kind
from hrvit_deploy.errors import RunnerError, UsageError
from hrvit_deploy.options import ONNXRUNTIME_OPSET, Precision, join
from hrvit_deploy.runners.open_file import open_file
from hrvit_deploy.runners.protocol import Runner
from hrvit_deploy.runners.spec import Provider, RunOptions

Choice = TypeVar("Choice", bound=StrEnum)


def choose(kind: type[Choice], requested: str) -> Choice:
    """Return the member of that value.

    Raises:
        UsageError: There is none.
    """
    try:
        return kind(requested)
    except ValueError as error:
        raise UsageError(f"{requested!r} is no choice", f"take {join(kind)}") from error


def choose_provider(requested: str | None, artefact: Artefact) -> Provider:
    """Return what runs the artefact; the CPU if nothing is requested.

    Raises:
        UsageError: There is no such provider, or none is to be chosen.
    """
    if requested is None:
        return Provider.CPU
    chosen = choose(Provider, requested)
    if artefact.manifest.kind is Kind.PLAN:
        raise UsageError(
            f"a plan runs in TensorRT alone, not by provider {chosen}",
            "leave provider out, or load the graph the plan was built from",
        )
    return chosen


def open_session_runner(artefact: Artefact, options: RunOptions) -> Runner:
    """Open an artefact's own file, without the onnx package to change it first.

    Raises:
        HrvitDeployError: Whatever :func:`hrvit_deploy.runners.open_file.open_file` raises.
        RunnerError: It is a graph that onnxruntime cannot run as it is.
    """
    manifest = artefact.manifest
    if manifest.kind is Kind.PLAN or options.provider is Provider.OPENVINO:
        return open_file(artefact, options)
    if manifest.float_type is Precision.BF16 and options.provider is Provider.CPU:
        raise RunnerError(
            f"{artefact.path} is in bfloat16, which onnxruntime has no CPU kernels for",
            "load it with provider='openvino', or export it with --precision fp32",
        )
    try:
        return open_file(artefact, options)
    except RunnerError as error:
        if manifest.graph is None or manifest.graph.opset <= ONNXRUNTIME_OPSET:
            raise
        raise RunnerError(
            f"opset {manifest.graph.opset} is newer than this onnxruntime: {error.message}",
            "load it with provider='openvino', or export it with"
            f" --opset {ONNXRUNTIME_OPSET} or older",
        ) from error
