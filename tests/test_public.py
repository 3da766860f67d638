"""The public face: these names, and no others by accident."""

from __future__ import annotations

import importlib

import pytest

import hrvit_deploy

PUBLIC = [
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
    "VARIANTS",
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


def test_the_public_names_are_these() -> None:
    assert sorted(hrvit_deploy.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_there_and_keeps_its_meaning(name: str) -> None:
    before = getattr(hrvit_deploy, name)
    # A submodule of the same name would take its place as soon as it is imported.
    importlib.import_module("hrvit_deploy.deploy.form")
    importlib.import_module("hrvit_deploy.export.stage")

    assert getattr(hrvit_deploy, name) is before
    assert not isinstance(before, type(pytest))


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'export_everything'"):
        hrvit_deploy.export_everything  # noqa: B018
