"""Fetch what tests hold our files against: TensorRT's Python bindings, and Triton.

The wheels on PyPI hold the bindings without the library, a few megabytes each. They are
unpacked beside the environment, not installed into it: ``<prefix>/conformance/<version>/``.
So are Triton's client, whose wheel has the definition of its configuration files (installing
it would bring down protobuf and ml_dtypes), and PyTriton, whose wheel has the server with its
Python backend, for Linux on x86-64; that was built before NumPy 2 and wants one of its time.
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
TRITON_CLIENT, TRITON_VERSION = "tritonclient", "2.73.0"
TRITON_SERVER, TRITON_SERVER_VERSION = "nvidia-pytriton", "0.7.0"
TRITON_NUMPY = "1.26.4"


def folder_of(version: str) -> Path:
    """Where that release lies, for the interpreter that asks."""
    return Path(sys.prefix) / "conformance" / version


def fetch(version: str, distribution: str = DISTRIBUTION) -> Path:
    """Download and unpack one release, unless it is there; its folder."""
    target = folder_of(version)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # pip picks the wheel of the running interpreter.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--only-binary=:all:", "--dest", scratch, f"{distribution}=={version}"]
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
    sys.stdout.write(f"{fetch(TRITON_VERSION, TRITON_CLIENT)}\n")
    try:
        sys.stdout.write(f"{fetch(TRITON_SERVER_VERSION, TRITON_SERVER)}\n")
        sys.stdout.write(f"{fetch(TRITON_NUMPY, 'numpy')}\n")
    except subprocess.CalledProcessError:
        sys.stdout.write(
            "Triton's server has no wheels for this machine: its tests will skip\n"
        )


if __name__ == "__main__":
    main()
