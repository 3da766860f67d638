"""Fetch TensorRT's Python bindings, without the library, for the conformance tests.

The wheels on PyPI hold the bindings alone, a few megabytes each. They are unpacked beside
the environment, not installed into it: ``<prefix>/conformance/<version>/``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

DISTRIBUTION = "tensorrt-cu13-bindings"
# The oldest release supported, the last of its major, and the newest.
VERSIONS = ("10.13.3.9.post1", "10.16.1.11", "11.4.0.106")


def folder_of(version: str) -> Path:
    """Where that release's bindings lie, for the interpreter that asks."""
    return Path(sys.prefix) / "conformance" / version


def fetch(version: str) -> Path:
    """Download and unpack one release, unless it is there; its folder."""
    target = folder_of(version)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # pip picks the wheel of the running interpreter.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--only-binary=:all:", "--dest", scratch, f"{DISTRIBUTION}=={version}"]
        subprocess.run(pip, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        unpacked = Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
        unpacked.replace(target)
    return target


def main() -> None:
    """Fetch them all."""
    for version in VERSIONS:
        sys.stdout.write(f"{fetch(version)}\n")


if __name__ == "__main__":
    main()
