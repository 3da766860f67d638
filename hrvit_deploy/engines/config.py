"""Turns build options into a TensorRT builder configuration."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from hrvit_deploy.artefact import TensorInfo
from hrvit_deploy.bindings.cuda_ import MIB
from hrvit_deploy.engines.backends import Choice
from hrvit_deploy.engines.capabilities import target_capabilities
from hrvit_deploy.engines.network import Parsed
from hrvit_deploy.errors import BuildError, UsageError
from hrvit_deploy.options import Backend, BatchProfile, BuildOptions, HardwareCompatibility


def check_options(
    options: BuildOptions, choice: Choice, inputs: Iterable[TensorInfo]
) -> BuildOptions:
    """Return the options if the backend and the graph support them all.

    Args:
        options: The requested options.
        choice: The backend, and the GPU it builds on.
        inputs: The inputs of the graph.

    Raises:
        UsageError: An option would be ignored or fail.
    """
    if options.profile != BatchProfile() and all(info.batch for info in inputs):
        raise UsageError(
            "the graph has a fixed batch, so a batch profile means nothing",
            "leave the profile out, or run hrvit-deploy export --batch dynamic",
        )
    if choice.backend is Backend.TENSORRT:
        if options.compute_capabilities:
            raise UsageError(
                "TensorRT builds for the GPU it is on, not for a list of compute capabilities",
                "leave them out, or build with --backend tensorrt-rtx",
            )
        return options
    if options.hardware_compatibility is not HardwareCompatibility.NONE:
        raise UsageError(
            "TensorRT-RTX has no hardware compatibility levels: its plans already run on a"
            " list of GPUs",
            "name the GPUs by compute capability instead, or build with --backend tensorrt",
        )
    if options.version_compatible:
        raise UsageError(
            "TensorRT-RTX builds no version compatible plans",
            "leave that out, or build with --backend tensorrt",
        )
    if options.refit and choice.gpu is None:
        raise UsageError(
            "TensorRT-RTX builds refittable and weightless plans only where there is a GPU",
            "leave refit and strip-weights out, or build on a machine with an NVIDIA GPU",
        )
    return options


def configure(trt: ModuleType, parsed: Parsed, options: BuildOptions, choice: Choice) -> Any:
    """Make a builder configuration from checked options.

    Precision is no part of it: a strongly typed network carries its own.

    Args:
        trt: The backend's module.
        parsed: Builder and network.
        options: From :func:`check_options`.
        choice: The backend.

    Raises:
        BuildError: The network has a dynamic size besides its batch.
        UsageError: The backend does not know a compute capability.
    """
    config = parsed.builder.create_builder_config()
    # The inspector reports types only with it; the kernels are the same.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if not options.tf32:
        # On by default, and float32 products would lose 13 bits of their mantissa.
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.refit:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.strip_weights:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    add_profile(parsed, config, options.profile)
    if choice.backend is Backend.TENSORRT:
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        level = hardware_level(trt, options.hardware_compatibility)
        config.hardware_compatibility_level = level
    elif options.compute_capabilities:
        target_capabilities(trt, config, options.compute_capabilities)
    return config


def fix_sizes(parsed: Parsed, inputs: Iterable[TensorInfo]) -> None:
    """Give inputs the sizes of their sidecar, where another tool's graph leaves them open.

    Args:
        parsed: Builder and network.
        inputs: Of the graph; the batch may be dynamic.
    """
    network = parsed.network
    tensors = {
        tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))
    }
    for info in inputs:
        fixed = tuple(-1 if isinstance(extent, str) else extent for extent in info.shape)
        tensor = tensors.get(info.name)
        if tensor is not None and -1 in tuple(tensor.shape)[1:]:
            tensor.shape = fixed


def add_profile(parsed: Parsed, config: Any, batches: BatchProfile) -> None:
    """Add the batches of a dynamic network to the configuration; a fixed one needs none.

    Raises:
        BuildError: A size besides the batch is dynamic.
    """
    network = parsed.network
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    dynamic = {tensor.name: tuple(tensor.shape) for tensor in inputs if -1 in tensor.shape}
    if not dynamic:
        return
    profile = parsed.builder.create_optimization_profile()
    for name, shape in dynamic.items():
        if shape[0] != -1 or -1 in shape[1:]:
            raise BuildError(
                f"input {name} has the shape {shape}: only its first size, the batch, may be"
                " dynamic",
                "export with a fixed --size",
            )
        rest = shape[1:]
        profile.set_shape(
            name, (batches.min, *rest), (batches.opt, *rest), (batches.max, *rest)
        )
    config.add_optimization_profile(profile)


def hardware_level(trt: ModuleType, compatibility: HardwareCompatibility) -> Any:
    """Return TensorRT's member for a compatibility."""
    return {
        HardwareCompatibility.NONE: trt.HardwareCompatibilityLevel.NONE,
        HardwareCompatibility.AMPERE_PLUS: trt.HardwareCompatibilityLevel.AMPERE_PLUS,
        HardwareCompatibility.SAME_COMPUTE_CAPABILITY: (
            trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
        ),
    }[compatibility]
