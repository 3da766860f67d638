"""Chooses the backend that builds the plan, and gives the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hrvit_deploy.bindings import cuda_, tensorrt_
from hrvit_deploy.bindings.tensorrt_ import TITLE, Availability
from hrvit_deploy.errors import MissingDependency
from hrvit_deploy.options import Backend


@dataclass(frozen=True)
class Choice:
    """A backend that can build here.

    Attributes:
        backend: TENSORRT or TENSORRT_RTX.
        version: Version of its library.
        gpu: The GPU it will build on; None for a build without one.
        why: The reason for the choice, in one sentence.
    """

    backend: Backend
    version: str
    gpu: cuda_.Gpu | None
    why: str


def choose(
    requested: Backend,
    *,
    availability: Callable[[Backend], Availability] = tensorrt_.availability,
    survey: Callable[[], cuda_.Survey] = cuda_.survey,
) -> Choice:
    """Return the requested backend, or for AUTO the best one that can build here.

    TensorRT times kernels on the GPU it builds for, so it needs one. TensorRT-RTX does
    that on the user's machine and builds anywhere.

    Args:
        requested: AUTO, TENSORRT or TENSORRT_RTX.
        availability: Finds out whether a backend's library loads.
        survey: Finds the GPU.

    Raises:
        MissingDependency: The requested backend cannot build here, or none can.
    """
    surveyed = survey()
    if requested is Backend.TENSORRT_RTX:
        return _rtx(availability(Backend.TENSORRT_RTX), surveyed.gpu, "as asked")
    library = availability(Backend.TENSORRT)
    obstacle = _obstacle(library, surveyed)
    if obstacle is None:
        why = (
            "as asked"
            if requested is Backend.TENSORRT
            else "its library loads and there is a GPU"
        )
        return Choice(
            Backend.TENSORRT,
            library.version,
            surveyed.gpu,
            f"building with TensorRT {library.version}: {why}",
        )
    if requested is Backend.TENSORRT:
        raise MissingDependency(
            obstacle.message, f"{obstacle.hint}; or build with --backend tensorrt-rtx"
        )
    rtx = availability(Backend.TENSORRT_RTX)
    if not rtx.available:
        raise MissingDependency(
            f"no TensorRT can build here: {obstacle.message}; {rtx.reason}",
            f"{rtx.hint}, which needs no GPU; or {obstacle.hint}",
        )
    return _rtx(rtx, surveyed.gpu, obstacle.message)


def _obstacle(library: Availability, surveyed: cuda_.Survey) -> MissingDependency | None:
    if not library.available:
        return MissingDependency(library.reason, library.hint)
    if surveyed.gpu is None:
        return MissingDependency(
            f"TensorRT builds on the GPU it builds for, and there is none: {surveyed.reason}",
            surveyed.hint,
        )
    return None


def _rtx(rtx: Availability, gpu: cuda_.Gpu | None, why: str) -> Choice:
    if not rtx.available:
        raise MissingDependency(rtx.reason, rtx.hint)
    title = TITLE[Backend.TENSORRT_RTX]
    return Choice(
        Backend.TENSORRT_RTX,
        rtx.version,
        gpu,
        f"building with {title} {rtx.version}: {why}",
    )
