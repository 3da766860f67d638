"""The GPUs that a plan runs on."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from hrvit_deploy.engines.backends import Choice
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import Backend, BuildOptions, HardwareCompatibility, join

# What TensorRT-RTX targets by default (its guide, "CPU-Only AOT").
RTX_DEFAULT = ("8.0", "8.6", "8.9", "12.0+")


def runs_on(options: BuildOptions, choice: Choice) -> tuple[str, ...]:
    """Return the compute capabilities a plan runs on; ``8.0+`` for 8.0 and all later."""
    if choice.backend is Backend.TENSORRT_RTX:
        return options.compute_capabilities or RTX_DEFAULT
    if options.hardware_compatibility is HardwareCompatibility.AMPERE_PLUS:
        return ("8.0+",)
    return (choice.gpu.compute_capability,) if choice.gpu else ()


def target_capabilities(trt: ModuleType, config: Any, capabilities: tuple[str, ...]) -> None:
    """Configure TensorRT-RTX to build for those GPUs alone.

    Raises:
        UsageError: TensorRT-RTX does not build for one of them.
    """
    known = trt.ComputeCapability.__members__
    # SM89 is 8.9 and SM120 is 12.0: the last digit is the minor number.
    spelled = {
        f"{name[2:-1]}.{name[-1]}": member
        for name, member in known.items()
        if name.startswith("SM")
    }
    unknown = [capability for capability in capabilities if capability not in spelled]
    if unknown:
        raise UsageError(
            f"TensorRT-RTX does not build for compute capability {unknown[0]}",
            f"choose among {join(spelled)}",
        )
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(spelled[capability], index)
