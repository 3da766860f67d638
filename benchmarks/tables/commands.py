"""How long whole commands take a newcomer, and how much memory: export, and the road in INT8.

Usage: python -m benchmarks.tables.commands [--out FILE.json]

Each command runs in a fresh process and an empty folder, as typed in a shell, and is held
against a limit that this project sets itself for two cores. Memory is that of the command and
of all it starts, sampled. Each row is on disk before the next starts. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common.reports import write_report
from benchmarks.tables.int8 import make_scenes
from hrvit_deploy.artefact import plain
from hrvit_deploy.measure.environment import describe_environment
from hrvit_deploy.options import ImageSize

RESULTS = Path(__file__).parents[1] / "results" / "commands.json"
PROC = Path("/proc")
SAMPLE_S = 0.1
KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Command:
    """One row.

    Attributes:
        words: Behind ``hrvit-deploy``.
        seconds: Limit.
        mib: Limit of memory, if there is one.
    """

    words: str
    seconds: float
    mib: float | None = None


COMMANDS = (
    Command("export --variant b1", 15),
    Command("export --variant b3 --task segment --size 1024x1024", 90, 4096),
    Command("run --variant b1 --int8 --images images", 240),
)


@dataclass(frozen=True)
class Spent:
    """What a command took: seconds, most MiB at once, and how it ended."""

    seconds: float
    peak_mib: float
    exit_code: int
    last_line: str = ""

    def keeps(self, command: Command) -> bool:
        """Whether it ended well within its limits."""
        within = command.mib is None or self.peak_mib <= command.mib
        return self.exit_code == 0 and self.seconds <= command.seconds and within


def spend(words: Sequence[str], folder: Path) -> Spent:
    """Run a command there, watching it."""
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.DEVNULL, stderr=said, text=True
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - started
        said.seek(0)
        lines = said.read().strip().splitlines()
    return Spent(seconds, peak / MIB, process.returncode, lines[-1] if lines else "")


def resident(root: int) -> int:
    """Bytes in memory of a process and of all that descend from it.

    Pages that several share count once for each.
    """
    children: dict[int, list[int]] = {}
    memory: dict[int, int] = {}
    for place in PROC.iterdir():
        if not place.name.isdigit():
            continue
        try:
            status = (place / "status").read_text(encoding="utf-8")
        except OSError:
            # It ended meanwhile.
            continue
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        number = int(place.name)
        children.setdefault(int(fields["PPid"]), []).append(number)
        memory[number] = int(fields.get("VmRSS", "0 kB").split()[0]) * KIB
    waiting, total = [root], 0
    while waiting:
        number = waiting.pop()
        total += memory.get(number, 0)
        waiting += children.get(number, [])
    return total


def row(command: Command) -> dict[str, Any]:
    """A command in an empty folder but for the images it may be told of."""
    script = Path(sys.executable).with_name("hrvit-deploy")
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as name:
        folder = Path(name)
        make_scenes(folder / "scenes", 0, ImageSize(256, 256))
        (folder / "scenes" / "images" / "training").rename(folder / "images")
        spent = spend([str(script), *command.words.split()], folder)
    return {"command": f"hrvit-deploy {command.words}", "within": spent.keeps(command)} | {
        "limit_s": command.seconds,
        "limit_mib": command.mib,
        **plain(spent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": plain(describe_environment("")),
        "rows": [],
    }
    for command in COMMANDS:
        found = row(command)
        report["rows"].append(found)
        write_report(out, report)
        print(
            f"{found['command']}: {found['seconds']:.0f} s, {found['peak_mib']:.0f} MiB,"
            f" exit {found['exit_code']}, {'within' if found['within'] else 'over'} its limits"
        )


if __name__ == "__main__":
    main()
