"""HRViT, from a PyTorch checkpoint to an engine a service runs.

The names below are the public face; each is loaded when it is first used, so importing
this package costs nothing. Everything else may change between versions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hrvit_deploy.version import VERSION as __version__

if TYPE_CHECKING:
    from hrvit_deploy.artefact import Artefact, Manifest, open_artefact
    from hrvit_deploy.deploy.form import deploy as to_inference_form
    from hrvit_deploy.errors import HrvitDeployError
    from hrvit_deploy.images import load_image, prepare
    from hrvit_deploy.model.variants import VARIANTS, Variant, load_variant
    from hrvit_deploy.options import (
        Backend,
        BuildOptions,
        ExportOptions,
        ImageSize,
        InputFormat,
        OutputFormat,
        Precision,
        Task,
    )
    from hrvit_deploy.pipeline import Pictures
    from hrvit_deploy.pipeline import build as build_engine
    from hrvit_deploy.pipeline import export as export_network
    from hrvit_deploy.pipeline import load as load_network
    from hrvit_deploy.pipeline import verify as verify_artefact
    from hrvit_deploy.progress import Silent
    from hrvit_deploy.request import Request

# Public name to the module it lives in and its name there.
_HOMES = {
    "VARIANTS": "model.variants:VARIANTS",
    "Artefact": "artefact:Artefact",
    "Backend": "options:Backend",
    "BuildOptions": "options:BuildOptions",
    "ExportOptions": "options:ExportOptions",
    "HrvitDeployError": "errors:HrvitDeployError",
    "ImageSize": "options:ImageSize",
    "InputFormat": "options:InputFormat",
    "Manifest": "artefact:Manifest",
    "OutputFormat": "options:OutputFormat",
    "Pictures": "pipeline:Pictures",
    "Precision": "options:Precision",
    "Request": "request:Request",
    "Silent": "progress:Silent",
    "Task": "options:Task",
    "Variant": "model.variants:Variant",
    "build_engine": "pipeline:build",
    "export_network": "pipeline:export",
    "load_image": "images:load_image",
    "load_network": "pipeline:load",
    "load_variant": "model.variants:load_variant",
    "open_artefact": "artefact:open_artefact",
    "prepare": "images:prepare",
    "to_inference_form": "deploy.form:deploy",
    "verify_artefact": "pipeline:verify",
}

__all__ = [
    "VARIANTS",
    "Artefact",
    "Backend",
    "BuildOptions",
    "ExportOptions",
    "HrvitDeployError",
    "ImageSize",
    "InputFormat",
    "Manifest",
    "OutputFormat",
    "Pictures",
    "Precision",
    "Request",
    "Silent",
    "Task",
    "Variant",
    "__version__",
    "build_engine",
    "export_network",
    "load_image",
    "load_network",
    "load_variant",
    "open_artefact",
    "prepare",
    "to_inference_form",
    "verify_artefact",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
