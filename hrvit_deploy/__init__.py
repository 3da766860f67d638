"""HRViT, from a PyTorch checkpoint to an engine a service runs.

The names below are the public face; each is loaded when it is first used, so importing
this package costs nothing. Everything else may change between versions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hrvit_deploy.version import VERSION as __version__

if TYPE_CHECKING:
    from hrvit_deploy.artefact import Artefact as Artefact
    from hrvit_deploy.artefact import Manifest as Manifest
    from hrvit_deploy.artefact import open_artefact as open_artefact
    from hrvit_deploy.deploy.form import deploy as to_inference_form
    from hrvit_deploy.errors import HrvitDeployError as HrvitDeployError
    from hrvit_deploy.image_source import ImageSource as ImageSource
    from hrvit_deploy.images import load_image as load_image
    from hrvit_deploy.images import prepare as prepare
    from hrvit_deploy.inference.predict import PredictOptions as PredictOptions
    from hrvit_deploy.inference.predict import predict_images as predict_images
    from hrvit_deploy.inference.session.session import Session as Session
    from hrvit_deploy.inference.session.session import load as load
    from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions as EvaluateOptions
    from hrvit_deploy.measure.accuracy.evaluate import evaluate_artefact as evaluate_artefact
    from hrvit_deploy.model.variants import VARIANTS as VARIANTS
    from hrvit_deploy.model.variants import NetworkSpec as NetworkSpec
    from hrvit_deploy.model.variants import Variant as Variant
    from hrvit_deploy.model.variants import load_variant as load_variant
    from hrvit_deploy.options import Backend as Backend
    from hrvit_deploy.options import BuildOptions as BuildOptions
    from hrvit_deploy.options import CalibrationOptions as CalibrationOptions
    from hrvit_deploy.options import ExportOptions as ExportOptions
    from hrvit_deploy.options import ImageSize as ImageSize
    from hrvit_deploy.options import InputFormat as InputFormat
    from hrvit_deploy.options import OutputFormat as OutputFormat
    from hrvit_deploy.options import Precision as Precision
    from hrvit_deploy.options import QuantizeOptions as QuantizeOptions
    from hrvit_deploy.options import Task as Task
    from hrvit_deploy.pipeline.compare import compare_artefacts as compare_artefacts
    from hrvit_deploy.pipeline.quality_gate import QualityCriteria as QualityCriteria
    from hrvit_deploy.pipeline.quantize import quantize as quantize_graph
    from hrvit_deploy.pipeline.run import run_pipeline as run_pipeline
    from hrvit_deploy.pipeline.stages import build as build_engine
    from hrvit_deploy.pipeline.stages import export as export_network
    from hrvit_deploy.pipeline.stages import load as load_network
    from hrvit_deploy.pipeline.stages import verify as verify_artefact
    from hrvit_deploy.progress import SilentProgress as SilentProgress
    from hrvit_deploy.quantization.calibration.stage import (
        calibrate_artefact as calibrate_graph,
    )
    from hrvit_deploy.runners.spec import Implementation as Implementation
    from hrvit_deploy.runners.spec import Provider as Provider
    from hrvit_deploy.runners.spec import RunOptions as RunOptions

# Public name to the module it lives in and its name there.
_HOMES = {
    "VARIANTS": "model.variants:VARIANTS",
    "Artefact": "artefact:Artefact",
    "Backend": "options:Backend",
    "BuildOptions": "options:BuildOptions",
    "CalibrationOptions": "options:CalibrationOptions",
    "EvaluateOptions": "measure.accuracy.evaluate:EvaluateOptions",
    "ExportOptions": "options:ExportOptions",
    "HrvitDeployError": "errors:HrvitDeployError",
    "ImageSize": "options:ImageSize",
    "ImageSource": "image_source:ImageSource",
    "Implementation": "runners.spec:Implementation",
    "InputFormat": "options:InputFormat",
    "Manifest": "artefact:Manifest",
    "NetworkSpec": "model.variants:NetworkSpec",
    "OutputFormat": "options:OutputFormat",
    "Precision": "options:Precision",
    "PredictOptions": "inference.predict:PredictOptions",
    "Provider": "runners.spec:Provider",
    "QualityCriteria": "pipeline.quality_gate:QualityCriteria",
    "QuantizeOptions": "options:QuantizeOptions",
    "RunOptions": "runners.spec:RunOptions",
    "Session": "inference.session.session:Session",
    "SilentProgress": "progress:SilentProgress",
    "Task": "options:Task",
    "Variant": "model.variants:Variant",
    "build_engine": "pipeline.stages:build",
    "calibrate_graph": "quantization.calibration.stage:calibrate_artefact",
    "compare_artefacts": "pipeline.compare:compare_artefacts",
    "evaluate_artefact": "measure.accuracy.evaluate:evaluate_artefact",
    "export_network": "pipeline.stages:export",
    "load": "inference.session.session:load",
    "load_image": "images:load_image",
    "load_network": "pipeline.stages:load",
    "load_variant": "model.variants:load_variant",
    "open_artefact": "artefact:open_artefact",
    "predict_images": "inference.predict:predict_images",
    "prepare": "images:prepare",
    "quantize_graph": "pipeline.quantize:quantize",
    "run_pipeline": "pipeline.run:run_pipeline",
    "to_inference_form": "deploy.form:deploy",
    "verify_artefact": "pipeline.stages:verify",
}

__all__ = [
    "VARIANTS",
    "Artefact",
    "Backend",
    "BuildOptions",
    "CalibrationOptions",
    "EvaluateOptions",
    "ExportOptions",
    "HrvitDeployError",
    "ImageSize",
    "ImageSource",
    "Implementation",
    "InputFormat",
    "Manifest",
    "NetworkSpec",
    "OutputFormat",
    "Precision",
    "PredictOptions",
    "Provider",
    "QualityCriteria",
    "QuantizeOptions",
    "RunOptions",
    "Session",
    "SilentProgress",
    "Task",
    "Variant",
    "__version__",
    "build_engine",
    "calibrate_graph",
    "compare_artefacts",
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
    "run_pipeline",
    "to_inference_form",
    "verify_artefact",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
