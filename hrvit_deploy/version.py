"""This version, and those of what is installed beside it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

VERSION = "0.1.0"


def installed(distributions: Iterable[str]) -> dict[str, str]:
    """Return the version of each of these distributions that is installed; import none."""
    versions = {}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
