"""What a machine has: its GPU, its libraries, and why a runtime cannot run there."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from benchmarks.gpu.candidates import BACKENDS, CPU, CUDA, PROVIDERS, WORKER, Runtime
from hrvit_deploy.bindings import cuda_, tensorrt_
from hrvit_deploy.errors import MissingDependency, RunnerError
from hrvit_deploy.measure.environment import query_gpu
from hrvit_deploy.measure.latency.process import Worker
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs, Runner
from hrvit_deploy.runners.spec import Provider
from hrvit_deploy.version import installed

TIMEOUT_S = 300.0
# Besides those that every environment tells of.
TOOLS = ("triton", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cudnn-cu12", "cuda-bindings")
# What nvidia-smi tells of a GPU at work, by the names it has for them.
STATE = {
    "clocks.sm": "sm_mhz",
    "clocks.mem": "memory_mhz",
    "clocks.max.sm": "most_sm_mhz",
    "temperature.gpu": "temperature_c",
    "power.draw": "power_w",
    "power.limit": "most_power_w",
    "utilization.gpu": "utilization_percent",
}
Report = dict[str, Any]


class Survey(Closing):
    """What was found, as the settings of something that runs nothing."""

    name, device = "survey", "cpu"

    def __init__(self, found: Report) -> None:
        self.settings = found

    def run(self, inputs: Inputs) -> Outputs:  # noqa: ARG002
        return {}


def open_survey(device: str) -> tuple[Runner, Inputs]:
    """Look at the machine, in a process that may start CUDA and may die of it."""
    return Survey(look(device)), {"image": np.zeros(1)}


def survey(device: str) -> Report:
    """The GPU, the libraries, and for each runtime why it cannot run; empty if it may.

    Args:
        device: ``cuda``, or ``cpu`` for stand-ins.
    """
    with Worker("survey", module=WORKER) as worker:
        try:
            # The survey itself uses no memory of the GPU that were to be measured.
            message = {"device": CPU, "survey": device}
            found: Report = worker.open(message, TIMEOUT_S)["settings"]
        except RunnerError as error:
            obstacles = dict.fromkeys(map(str, Runtime), error.message)
            found = {"device": device, "gpu": None, "obstacles": obstacles}
    return found


def look(device: str) -> Report:
    """The same, in this process."""
    import torch

    gpu: Report | None = None
    if device == CUDA and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        gpu = {
            "name": torch.cuda.get_device_name(),
            "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "memory_mib": total // cuda_.MIB,
            "free_mib": free // cuda_.MIB,
            "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
        }
    return {
        "device": device,
        "gpu": gpu,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "versions": installed(TOOLS),
        "obstacles": {str(runtime): obstacle(runtime, device) for runtime in Runtime},
    }


def obstacle(runtime: Runtime, device: str) -> str:
    """Why a runtime cannot run here, in one line; empty if nothing speaks against it."""
    on_cpu = runtime in (Runtime.EAGER, Runtime.ORT_CPU)
    if device == CPU:
        return "" if on_cpu else "needs a GPU"
    if runtime is Runtime.ORT_CPU:
        return "runs on no GPU"
    return _missing(runtime) or _without_gpu()


def _missing(runtime: Runtime) -> str:
    """A library that is not there."""
    if runtime is Runtime.COMPILE and importlib.util.find_spec("triton") is None:
        return "Inductor needs Triton on a GPU, which is not installed"
    if runtime in PROVIDERS:
        return _without_provider(PROVIDERS[runtime])
    if runtime in BACKENDS:
        return tensorrt_.availability(BACKENDS[runtime]).reason
    return ""


def _without_provider(provider: Provider) -> str:
    from hrvit_deploy.runners.onnxruntime_ import load_library

    try:
        load_library(provider)
    except MissingDependency as error:
        return error.message
    return ""


def _without_gpu() -> str:
    import torch

    if torch.cuda.is_available():
        return ""
    # The driver's own words, if cuda-python can be asked.
    reason = cuda_.survey().reason
    return f"PyTorch {torch.__version__} sees no CUDA device" + (
        f": {reason}" if reason else ""
    )


def gpu_state() -> Report | None:
    """Clocks, power and temperature right now; None where nvidia-smi does not tell."""
    row = query_gpu(*STATE)
    if row is None:
        return None
    return {name: _number(text) for name, text in zip(STATE.values(), row, strict=True)}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
