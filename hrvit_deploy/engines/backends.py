"""Which builder makes the plan, and why."""

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
        version: Of its library.
        gpu: The GPU it will build on; None for a build without one.
        why: One sentence.
    """

    backend: Backend
    version: str
    gpu: cuda_.Gpu | None
    why: str


def choose(
    asked: Backend,
    *,
    availability: Callable[[Backend], Availability] = tensorrt_.availability,
    survey: Callable[[], cuda_.Survey] = cuda_.survey,
) -> Choice:
    """The backend asked for, or for AUTO the best one that can build here.

    TensorRT times kernels on the GPU it builds for, so it needs one. TensorRT-RTX does
    that on the user's machine and builds anywhere.

    Args:
        asked: AUTO, TENSORRT or TENSORRT_RTX.
        availability: How to find out whether a backend's library loads.
        survey: How to find the GPU.

    Raises:
        MissingDependency: The backend asked for cannot build here, or none can.
    """
    found = survey()
    if asked is Backend.TENSORRT_RTX:
        return _rtx(availability(Backend.TENSORRT_RTX), found, "as asked")
    library = availability(Backend.TENSORRT)
    obstacle = _obstacle(library, found)
    if obstacle is None:
        why = (
            "as asked" if asked is Backend.TENSORRT else "its library loads and there is a GPU"
        )
        return Choice(
            Backend.TENSORRT,
            library.version,
            found.gpu,
            f"building with TensorRT {library.version}: {why}",
        )
    if asked is Backend.TENSORRT:
        raise MissingDependency(
            obstacle.message, f"{obstacle.hint}; or build with --backend tensorrt-rtx"
        )
    rtx = availability(Backend.TENSORRT_RTX)
    if not rtx.available:
        raise MissingDependency(
            f"no TensorRT can build here: {obstacle.message}; {rtx.reason}",
            f"{rtx.hint}, which needs no GPU; or {obstacle.hint}",
        )
    return _rtx(rtx, found, obstacle.message)


def _obstacle(library: Availability, found: cuda_.Survey) -> MissingDependency | None:
    if not library.available:
        return MissingDependency(library.reason, library.hint)
    if found.gpu is None:
        return MissingDependency(
            f"TensorRT builds on the GPU it builds for, and there is none: {found.reason}",
            found.hint,
        )
    return None


def _rtx(rtx: Availability, found: cuda_.Survey, why: str) -> Choice:
    if not rtx.available:
        raise MissingDependency(rtx.reason, rtx.hint)
    title = TITLE[Backend.TENSORRT_RTX]
    return Choice(
        Backend.TENSORRT_RTX,
        rtx.version,
        found.gpu,
        f"building with {title} {rtx.version}: {why}",
    )
