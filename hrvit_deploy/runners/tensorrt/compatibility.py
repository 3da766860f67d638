"""Checks that a plan fits this machine, before anything native opens it.

A plan runs in the TensorRT version that built it, on the GPUs it was built for. Only its
sidecar names them.
"""

from __future__ import annotations

from hrvit_deploy.artefact import Artefact, Engine
from hrvit_deploy.bindings.cuda_ import Gpu
from hrvit_deploy.bindings.tensorrt_ import INSTALL, TITLE, release
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.options import Backend

REBUILD = "run hrvit-deploy build-trt again on this machine"


def check_opens(artefact: Artefact, *, allow_host_code: bool) -> Engine:
    """Check that a plan can be run at all, and return its sidecar's engine entry.

    Raises:
        ArtefactError: The artefact is no plan, has no weights, or carries code that was not
            allowed to run.
    """
    engine, options = artefact.manifest.engine, artefact.manifest.options
    if engine is None:
        raise ArtefactError(
            f"{artefact.path} is a {artefact.manifest.kind}, not a plan",
            "build one with hrvit-deploy build-trt",
        )
    if options.get("strip_weights"):
        raise ArtefactError(
            f"{artefact.path} was built without its weights",
            "refit it first, or build it again without stripping them",
        )
    if options.get("version_compatible") and not allow_host_code:
        raise ArtefactError(
            f"{artefact.path} is version compatible: it carries code that would run here",
            "allow that for a plan you trust, or build it again without that option",
        )
    return engine


def check_library(artefact: Artefact, version: str, gpu: Gpu) -> None:
    """Check a plan against the installed TensorRT and the GPU.

    Args:
        artefact: A plan.
        version: Version of the installed library.
        gpu: The GPU that is to run the plan.

    Raises:
        ArtefactError: The plan was built by another version, or for other GPUs.
    """
    engine = artefact.manifest.engine
    if engine is None:
        return
    backend = Backend(engine.backend)
    built_by, installed = release(engine.version), release(version)
    compatible = artefact.manifest.options.get("version_compatible")
    if installed < built_by if compatible else installed != built_by:
        raise ArtefactError(
            f"{artefact.path} was built by {TITLE[backend]} {engine.version}, {version} is"
            " installed",
            f"{REBUILD}, or install that version: {INSTALL[backend]}",
        )
    if engine.compute_capabilities and not gpu.runs(engine.compute_capabilities):
        raise ArtefactError(
            f"{artefact.path} runs on compute capability"
            f" {', '.join(engine.compute_capabilities)}, and the {gpu.name} here has"
            f" {gpu.compute_capability}",
            REBUILD,
        )
