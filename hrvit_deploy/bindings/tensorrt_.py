"""TensorRT and TensorRT for RTX: the one module that imports either."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from types import ModuleType

from hrvit_deploy.errors import MissingDependency
from hrvit_deploy.options import Backend
from hrvit_deploy.version import installed

# The front ends from NVIDIA's index first; the bare bindings are what PyPI holds whole.
MODULES = {
    Backend.TENSORRT: ("tensorrt", "tensorrt_bindings"),
    Backend.TENSORRT_RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
DISTRIBUTIONS = {
    Backend.TENSORRT: ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    Backend.TENSORRT_RTX: ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings"),
}
# From the first strongly typed release this package was checked against, to the last major.
SUPPORTED = {
    Backend.TENSORRT: ((10, 13), (12, 0)),
    Backend.TENSORRT_RTX: ((1, 5), (2, 0)),
}
INSTALL = {
    Backend.TENSORRT: "pip install 'hrvit-deploy[gpu]' (tensorrt>=10.13,<12)",
    Backend.TENSORRT_RTX: "pip install 'hrvit-deploy[rtx]'",
}
TITLE = {Backend.TENSORRT: "TensorRT", Backend.TENSORRT_RTX: "TensorRT-RTX"}


@dataclass(frozen=True)
class Availability:
    """The version of a backend's library that loads here, or a reason and a hint."""

    backend: Backend
    version: str = ""
    reason: str = ""
    hint: str = ""

    @property
    def available(self) -> bool:
        """Whether the library loaded, in a version this package supports."""
        return bool(self.version)


def load(backend: Backend) -> ModuleType:
    """Import the backend's Python module and its native libraries.

    Args:
        backend: TENSORRT or TENSORRT_RTX; ``engines.backends`` resolves AUTO.

    Raises:
        MissingDependency: The backend is not installed, a native library is missing, or this
            package was not checked against its version.
    """
    module = _import(backend)
    version = version_of(module)
    oldest, below = SUPPORTED[backend]
    if not oldest <= release(version)[:2] < below:
        raise MissingDependency(
            f"{TITLE[backend]} {version} is installed, this package needs"
            f" {dotted(oldest)} or later, before {dotted(below)}",
            INSTALL[backend],
        )
    return module


def availability(backend: Backend) -> Availability:
    """Return whether the backend loads here, without raising."""
    try:
        return Availability(backend, version=version_of(load(backend)))
    except MissingDependency as error:
        return Availability(backend, reason=error.message, hint=error.hint)


def version_of(module: ModuleType) -> str:
    """Return a loaded library's version, such as ``10.16.1.11``, without packaging suffixes."""
    version = getattr(module, "__version__", None) or _installed_version(module)
    return dotted(release(str(version)))


def release(version: str) -> tuple[int, ...]:
    """Return ``(10, 13, 3, 9)`` for ``"10.13.3.9.post1"``; empty for what is no version."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def dotted(numbers: tuple[int, ...]) -> str:
    """Return ``"10.13"`` for ``(10, 13)``."""
    return ".".join(map(str, numbers))


def _import(backend: Backend) -> ModuleType:
    reasons = []
    for name in MODULES[backend]:
        try:
            return importlib.import_module(name)
        # A wheel without its native library fails in any of these ways.
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            reasons.append(_one_line(error))
    # "No module named" of the front end helps least; a missing library's name helps most.
    reason = next((text for text in reasons if not text.startswith("No module")), reasons[0])
    raise MissingDependency(f"{TITLE[backend]} does not load: {reason}", INSTALL[backend])


def _installed_version(module: ModuleType) -> str:
    for backend, names in MODULES.items():
        if module.__name__ not in names:
            continue
        return next(iter(installed(DISTRIBUTIONS[backend]).values()), "")
    return ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
