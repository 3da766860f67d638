"""Memory that was freed goes back."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from hrvit_deploy.runners.memory import trim

# Blocks small enough for the heap, each between two that stay.
SCATTER = """
import pathlib
from hrvit_deploy.runners.memory import trim

def resident():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096

gone, kept = [], []
for _ in range(2000):
    gone.append(bytearray(b"x" * 100_000))
    kept.append(bytearray(b"x" * 600))
del gone
before = resident()
trim()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_was_freed_goes_back_to_the_system() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("no glibc")
    done = subprocess.run(
        [sys.executable, "-c", SCATTER], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 100 << 20


def test_a_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    trim()
