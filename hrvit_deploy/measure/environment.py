"""What a measurement depends on besides what is measured."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from hrvit_deploy.runners.cores import usable_cores
from hrvit_deploy.version import installed

# Distributions, not modules: onnxruntime has three and TensorRT more.
TOOLS = (
    "hrvit-deploy",
    "numpy",
    "pillow",
    "torch",
    "onnx",
    "onnxsim",
    "ml-dtypes",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "tensorrt-rtx",
    "tensorrt-rtx-cu13-bindings",
    "cuda-python",
    "pycuda",
)
CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
SMI_TIMEOUT_S = 15


def describe_environment(date: str) -> dict[str, Any]:
    """Describe the machine and the software as plain data.

    Nothing heavy is imported and nothing is started on a GPU.

    Args:
        date: When it is, in the caller's words.

    Returns:
        ``gpu`` is None where there is none; ``load`` is the machine's load average over
        the last minute, which should be small before a benchmark.
    """
    return {
        "date": date,
        "cpu": cpu_model(),
        "logical_cpus": os.cpu_count(),
        "affinity": _affinity(),
        "usable_cores": usable_cores(),
        "memory_mib": memory_mib(),
        "load": _load(),
        "gpu": describe_gpu(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": installed(TOOLS),
    }


def cpu_model() -> str:
    """Return the processor's name, such as ``AMD EPYC 9R14``."""
    value = _field(CPUINFO, "model name")
    return value or platform.processor() or platform.machine()


def memory_mib() -> int | None:
    """Return the machine's memory in MiB; None where it is unknown."""
    value = _field(MEMINFO, "MemTotal")
    return int(value.split()[0]) // 1024 if value else None


def describe_gpu() -> dict[str, Any] | None:
    """Name, driver and memory of the GPU that runs use; None where there is none."""
    row = query_gpu("name", "driver_version", "memory.total")
    if row is None:
        return None
    name, driver, memory = row
    return {"name": name, "driver": driver, "memory_mib": _number(memory)}


def gpu_used_mib() -> float | None:
    """Return the GPU's memory in use by all processes, in MiB; None where it is unknown."""
    row = query_gpu("memory.used")
    return None if row is None else _number(row[0])


def query_gpu(*fields: str) -> list[str] | None:
    """Query nvidia-smi about the first GPU this process may use; None without one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    command = [
        "nvidia-smi",
        f"--id={visible}",
        f"--query-gpu={','.join(fields)}",
        "--format=csv,noheader,nounits",
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    row = [value.strip() for value in done.stdout.strip().split("\n")[0].split(",")]
    return row if len(row) == len(fields) else None


def _number(text: str) -> float | None:
    """Parse a number; a GPU reports ``[N/A]`` for a field it lacks."""
    try:
        return float(text)
    except ValueError:
        return None


def _affinity() -> list[int] | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    return sorted(os.sched_getaffinity(0))


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _field(path: Path, name: str) -> str:
    """Return the value of the first ``name : value`` line; empty without one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
