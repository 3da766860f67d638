"""A few lines of Python in a process of their own, which may crash or hang."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 60.0
LINE_CHARACTERS = 300
# This package's errors speak for themselves, without their class.
ERROR_CLASS = re.compile(r"^hrvit_deploy\.errors\.\w+: ")


@dataclass(frozen=True)
class Probe:
    """The last line printed, or why there is none."""

    ok: bool
    text: str


def probe(code: str, timeout_s: float = TIMEOUT_S) -> Probe:
    """Run the code with this process's interpreter and module path.

    Args:
        code: Prints one line.
        timeout_s: How long it may take, in seconds.
    """
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe(ok=False, text=f"did not load within {timeout_s:.0f} s")
    if done.returncode < 0:
        return Probe(ok=False, text=f"crashed with {signal.Signals(-done.returncode).name}")
    if done.returncode:
        return Probe(ok=False, text=_last_line(done.stderr) or "failed without a word")
    return Probe(ok=True, text=_last_line(done.stdout))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return ERROR_CLASS.sub("", lines[-1].strip())[:LINE_CHARACTERS] if lines else ""
