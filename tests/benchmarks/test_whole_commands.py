"""Commands are watched from outside: their time, their memory, their end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.tables.commands import Command, Spent, spend

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
# Takes 200 MiB in a process of its own, then ends with what it is told.
GREEDY = """
import subprocess, sys
hold = "held = bytearray(200 << 20); import time; time.sleep(0.6)"
subprocess.run([sys.executable, "-c", hold])
sys.exit("so it ends" if sys.argv[1] else 0)
"""


@pytest.mark.parametrize(("word", "code", "last"), [("", 0, ""), ("ill", 1, "so it ends")])
def test_time_memory_and_end(tmp_path: Path, word: str, code: int, last: str) -> None:
    spent = spend([sys.executable, "-c", GREEDY, word], tmp_path)

    assert (spent.exit_code, spent.last_line) == (code, last)
    assert 0.6 <= spent.seconds < 30
    assert 200 <= spent.peak_mib < 400


@pytest.mark.parametrize(
    ("spent", "within"),
    [
        (Spent(9.0, 90.0, 0), True),
        (Spent(11.0, 90.0, 0), False),
        (Spent(9.0, 110.0, 0), False),
        (Spent(9.0, 90.0, 1), False),
    ],
)
def test_limits_are_of_time_memory_and_success(spent: Spent, *, within: bool) -> None:
    assert spent.keeps(Command("export", 10, 100)) is within
    assert Spent(9.0, 110.0, 0).keeps(Command("export", 10))
