"""What is installed, what works, and what to install for the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from hrvit_deploy.bindings import tensorrt_
from hrvit_deploy.measure.environment import describe_gpu
from hrvit_deploy.options import Backend
from hrvit_deploy.report.probe import TIMEOUT_S, probe
from hrvit_deploy.runners.cores import usable_cores
from hrvit_deploy.version import installed

VERSION_OF = "import {0} as m; print(getattr(m, '__version__', ''))"
TENSORRT_VERSION = """
from hrvit_deploy.bindings.tensorrt_ import load, version_of
from hrvit_deploy.options import Backend
print(version_of(load(Backend({0!r}))))
"""
OPENVINO = """
from hrvit_deploy.runners.openvino_ import load_library
library = load_library()
print(f"{library.__version__}, for {' '.join(library.Core().available_devices)}")
"""
GPU = """
from hrvit_deploy.bindings.cuda_ import Cuda, describe
g = describe(Cuda())
print(f"{g.name}, compute capability {g.compute_capability}, {g.driver}, {g.memory_mib} MiB")
"""
FIND_GPU = "run on a machine with an NVIDIA GPU and its driver"


class Status(StrEnum):
    """How a library or workflow was found."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Library:
    """Something to look for.

    Attributes:
        modules: Any of them will do.
        mend: What installs it.
        code: What prints its version, and more behind a comma, in a process of its own.
        distribution: Whose version this package sets a floor for; the name if empty.
    """

    name: str
    modules: tuple[str, ...]
    mend: str
    code: str = ""
    distribution: str = ""


@dataclass(frozen=True)
class Finding:
    """One library, GPU or workflow: how it is, and what to do if that is not well."""

    name: str
    status: Status
    detail: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        ok: Whether the main workflow, export and verification on a CPU, works.
        gpu: The GPU, or why there is none.
    """

    ok: bool
    libraries: tuple[Finding, ...]
    gpu: Finding
    roads: tuple[Finding, ...]


LIBRARIES = (
    Library("torch", ("torch",), "pip install 'hrvit-deploy[export]'"),
    Library("onnx", ("onnx",), "pip install 'hrvit-deploy[export]'"),
    Library("onnxsim", ("onnxsim",), "pip install 'hrvit-deploy[export]'"),
    Library("ml_dtypes", ("ml_dtypes",), "pip install 'hrvit-deploy[export]'"),
    Library(
        "onnxruntime",
        ("onnxruntime",),
        "pip install 'hrvit-deploy[cpu]', or [gpu] beside an NVIDIA GPU",
    ),
    Library("matplotlib", ("matplotlib",), "pip install matplotlib"),
    Library(
        "scikit-learn",
        ("sklearn",),
        "pip install scikit-learn, for its photographs; or give --images DIR",
    ),
    Library("openvino", ("openvino",), "pip install 'hrvit-deploy[openvino]'", OPENVINO),
    Library("cuda-python", ("cuda.bindings",), "pip install cuda-python"),
    Library("pycuda", ("pycuda",), "pip install pycuda, which needs the CUDA toolkit"),
    Library(
        "tensorrt",
        tensorrt_.MODULES[Backend.TENSORRT],
        tensorrt_.INSTALL[Backend.TENSORRT],
        TENSORRT_VERSION.format(str(Backend.TENSORRT)),
    ),
    Library(
        "tensorrt-rtx",
        tensorrt_.MODULES[Backend.TENSORRT_RTX],
        tensorrt_.INSTALL[Backend.TENSORRT_RTX],
        TENSORRT_VERSION.format(str(Backend.TENSORRT_RTX)),
        "tensorrt-rtx-cu13-bindings",
    ),
)


def diagnose(
    libraries: Sequence[Library] = LIBRARIES, *, timeout_s: float = TIMEOUT_S
) -> Diagnosis:
    """Look at every library and the GPU, each in a process of its own.

    A library that crashes or hangs when imported is a finding, not the end.

    Args:
        libraries: What to look for.
        timeout_s: How long each import may take, in seconds.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        gpu_looked = pool.submit(_look_for_gpu, timeout_s)
        examined = tuple(pool.map(lambda library: examine(library, timeout_s), libraries))
        gpu = gpu_looked.result()
    roads = find_workflows({finding.name: finding for finding in (*examined, gpu)})
    ok = all(
        workflow.status is Status.OK for workflow in roads if workflow.name in MAIN_WORKFLOWS
    )
    return Diagnosis(ok, examined, gpu, roads)


def examine(library: Library, timeout_s: float = TIMEOUT_S) -> Finding:
    """Check whether one library is there, loads, and is new enough."""
    name = library.name
    if not any(map(_is_installed, library.modules)):
        return Finding(name, Status.MISSING, "not installed", library.mend)
    probed = probe(library.code or VERSION_OF.format(library.modules[0]), timeout_s)
    if not probed.ok:
        return Finding(name, Status.BROKEN, probed.text, library.mend)
    # Some modules add more to their version than their package does, or have none.
    printed, _, more = probed.text.partition(", ")
    version = _installed_version(name) or printed
    floor = oldest_supported(library.distribution or name)
    if version and tensorrt_.release(version) < tensorrt_.release(floor):
        detail = f"{version} is older than {floor}"
        return Finding(name, Status.BROKEN, detail, library.mend)
    return Finding(name, Status.OK, ", ".join(filter(None, (version, more))))


def oldest_supported(distribution: str) -> str:
    """Return the floor that this package's own metadata sets; empty without one."""
    for requirement in importlib.metadata.requires("hrvit-deploy") or ():
        match = re.match(r"([\w.-]+).*?>=([\d.]+)", requirement)
        if match and match[1].replace("_", "-") == distribution.replace("_", "-"):
            return match[2]
    return ""


def _look_for_gpu(timeout_s: float) -> Finding:
    if not _is_installed("cuda.bindings"):
        # The driver's own tool still tells what there is.
        seen = describe_gpu()
        if seen is None:
            return Finding("GPU", Status.MISSING, "nvidia-smi finds none", FIND_GPU)
        detail = f"{seen['name']}, driver {seen['driver']}, without cuda-python"
        return Finding("GPU", Status.BROKEN, detail, "pip install cuda-python")
    probed = probe(GPU, timeout_s)
    if probed.ok:
        return Finding("GPU", Status.OK, probed.text)
    return Finding("GPU", Status.MISSING, probed.text, FIND_GPU)


@dataclass(frozen=True)
class Workflow:
    """Something this package does: it needs all of ``needs``, and one of ``one_of``."""

    name: str
    needs: tuple[str, ...]
    one_of: tuple[str, ...] = ()


WORKFLOWS = (
    Workflow("export", ("torch", "onnx", "ml_dtypes", "onnxruntime")),
    Workflow("verify", ("torch", "onnxruntime")),
    Workflow("build with TensorRT-RTX", ("tensorrt-rtx",)),
    Workflow("build with TensorRT", ("tensorrt", "GPU")),
    Workflow("run engines", ("GPU", "cuda-python"), ("tensorrt", "tensorrt-rtx")),
    Workflow("charts", ("matplotlib",)),
)
MAIN_WORKFLOWS = ("export", "verify")


def find_workflows(findings: dict[str, Finding]) -> tuple[Finding, ...]:
    """Check which workflows are open, given every library and the GPU by name."""
    return tuple(_check(workflow, findings) for workflow in WORKFLOWS)


def _check(workflow: Workflow, findings: dict[str, Finding]) -> Finding:
    faults = [
        findings[name] for name in workflow.needs if findings[name].status is not Status.OK
    ]
    choices = [findings[name] for name in workflow.one_of]
    if choices and all(choice.status is not Status.OK for choice in choices):
        faults.append(choices[0])
    if not faults:
        return Finding(workflow.name, Status.OK)
    return Finding(
        workflow.name,
        Status.MISSING,
        "needs " + ", ".join(fault.name for fault in faults),
        "; ".join(dict.fromkeys(fault.mend for fault in faults)),
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _installed_version(distribution: str) -> str:
    return installed([distribution]).get(distribution, "")
