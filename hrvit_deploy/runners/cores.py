"""The number of CPU threads that is worth starting."""

from __future__ import annotations

import math
import os
from pathlib import Path

TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return the number of physical cores that this process may use.

    The affinity of the process limits it, and so does a container's quota. The libraries'
    own defaults look at the whole machine and start more threads than a pinned or limited
    process can run. Two threads of one core share its multipliers.
    """
    cpus = _affinity()
    cores = {_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota()))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    try:
        return Path(TOPOLOGY.format(cpu)).read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def _quota() -> int:
    """Return a version 2 control group's quota in whole cores; a large number without one."""
    try:
        allowed, period = QUOTA.read_text(encoding="ascii").split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):
        return 1 << 20
