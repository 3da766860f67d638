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
    from hrvit_deploy.judging import Evidence
    from hrvit_deploy.measure.evaluate import EvaluateOptions
    from hrvit_deploy.measure.predict import PredictOptions
    from hrvit_deploy.model.variants import VARIANTS, Variant, load_variant
    from hrvit_deploy.options import (
        Backend,
        BuildOptions,
        CalibrationOptions,
        ExportOptions,
        ImageSize,
        InputFormat,
        OutputFormat,
        Precision,
        QuantizeOptions,
        Task,
    )
    from hrvit_deploy.pipeline import Pictures
    from hrvit_deploy.pipeline import build as build_engine
    from hrvit_deploy.pipeline import calibrate as calibrate_graph
    from hrvit_deploy.pipeline import evaluate as evaluate_artefact
    from hrvit_deploy.pipeline import export as export_network
    from hrvit_deploy.pipeline import load as load_network
    from hrvit_deploy.pipeline import predict as predict_images
    from hrvit_deploy.pipeline import verify as verify_artefact
    from hrvit_deploy.progress import Silent
    from hrvit_deploy.quantizing import quantize as quantize_graph
    from hrvit_deploy.request import Request
    from hrvit_deploy.runtime.session import Session, load

# Public name to the module it lives in and its name there.
_HOMES = {
    "VARIANTS": "model.variants:VARIANTS",
    "Artefact": "artefact:Artefact",
    "Backend": "options:Backend",
    "BuildOptions": "options:BuildOptions",
    "CalibrationOptions": "options:CalibrationOptions",
    "EvaluateOptions": "measure.evaluate:EvaluateOptions",
    "Evidence": "judging:Evidence",
    "ExportOptions": "options:ExportOptions",
    "HrvitDeployError": "errors:HrvitDeployError",
    "ImageSize": "options:ImageSize",
    "InputFormat": "options:InputFormat",
    "Manifest": "artefact:Manifest",
    "OutputFormat": "options:OutputFormat",
    "Pictures": "pipeline:Pictures",
    "Precision": "options:Precision",
    "PredictOptions": "measure.predict:PredictOptions",
    "QuantizeOptions": "options:QuantizeOptions",
    "Request": "request:Request",
    "Session": "runtime.session:Session",
    "Silent": "progress:Silent",
    "Task": "options:Task",
    "Variant": "model.variants:Variant",
    "build_engine": "pipeline:build",
    "calibrate_graph": "pipeline:calibrate",
    "evaluate_artefact": "pipeline:evaluate",
    "export_network": "pipeline:export",
    "load": "runtime.session:load",
    "load_image": "images:load_image",
    "load_network": "pipeline:load",
    "load_variant": "model.variants:load_variant",
    "open_artefact": "artefact:open_artefact",
    "predict_images": "pipeline:predict",
    "prepare": "images:prepare",
    "quantize_graph": "quantizing:quantize",
    "to_inference_form": "deploy.form:deploy",
    "verify_artefact": "pipeline:verify",
}

__all__ = [
    "VARIANTS",
    "Artefact",
    "Backend",
    "BuildOptions",
    "CalibrationOptions",
    "EvaluateOptions",
    "Evidence",
    "ExportOptions",
    "HrvitDeployError",
    "ImageSize",
    "InputFormat",
    "Manifest",
    "OutputFormat",
    "Pictures",
    "Precision",
    "PredictOptions",
    "QuantizeOptions",
    "Request",
    "Session",
    "Silent",
    "Task",
    "Variant",
    "__version__",
    "build_engine",
    "calibrate_graph",
    "evaluate_artefact",
    "export_network",
    "load",
    "load_image",
    "load_network",
    "load_variant",
    "open_artefact",
    "predict_images",
    "prepare",
    "quantize_graph",
    "to_inference_form",
    "verify_artefact",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
