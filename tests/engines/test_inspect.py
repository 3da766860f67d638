from __future__ import annotations

import json
from typing import Any

import pytest

from hrvit_deploy.engines.inspect import check_inspection, read_report, tensor_type
from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.options import Precision


def layer(kind: str, taken: str, given: str) -> dict[str, Any]:
    return {
        "Name": kind,
        "LayerType": kind,
        "Inputs": [{"Name": "in", "Format/Datatype": taken}],
        "Outputs": [{"Name": "out", "Format/Datatype": given}],
    }


HALF = [
    layer("Reformat", "Row major linear FP32", "Row major linear FP16 format"),
    layer("CaskConvolution", "Channel major FP16 format", "Channel major FP16 format"),
    layer("gemm", "Half", "Float"),
    {"Name": "no outputs", "LayerType": "NoOp", "Inputs": [], "Outputs": []},
]


@pytest.mark.parametrize(
    "tensors",
    [
        {"Bindings": ["images", "logits"]},
        {"I/O Tensors": [{"Name": "images"}, {"Name": "logits"}]},
    ],
)
def test_reports_of_both_majors_read(tensors: dict[str, Any]) -> None:
    inspection = read_report(json.dumps({"Layers": HALF, **tensors}))
    assert inspection.tensors == ("images", "logits")
    assert inspection.layers == 4
    assert inspection.kinds["gemm"] == 1
    assert inspection.types == {"float16": 2, "float32": 1}
    assert inspection.products == {"float16": 2}


def test_a_report_without_details_counts_layers_only() -> None:
    inspection = read_report(json.dumps({"Layers": ["conv1", "conv2"], "Bindings": []}))
    assert (inspection.layers, inspection.products) == (2, {})
    check_inspection(inspection, Precision.FP16)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("BFloat16", "bfloat16"),
        ("Row major linear BF16", "bfloat16"),
        ("FP8", "float8_e4m3fn"),
        ("Int8", "int8"),
        ("UInt8", "uint8"),
        ("Int64", "int64"),
        ("Bool", "bool"),
        ("something else", "unknown"),
    ],
)
def test_types_as_the_inspector_spells_them(written: str, name: str) -> None:
    assert tensor_type({"Format/Datatype": written}) == name
    assert tensor_type({"Datatype": written, "Format": "Linear"}) == name


def test_an_engine_of_another_type_is_refused() -> None:
    report = {"Layers": [layer("CaskGemmConvolution", "Row major linear FP32", "FP32")]}
    inspection = read_report(json.dumps(report))
    check_inspection(inspection, Precision.FP32)
    with pytest.raises(PrecisionError, match=r"takes float16 \(1 float32\)"):
        check_inspection(inspection, Precision.FP16)


def test_a_wholly_fused_engine_is_not_judged() -> None:
    report = {"Layers": [layer("Myelin", "Row major linear FP32", "Row major linear FP32")]}
    check_inspection(read_report(json.dumps(report)), Precision.FP16)
