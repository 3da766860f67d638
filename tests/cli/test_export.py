"""``hrvit-deploy export`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from support.command_line import SMALL, TINY, Run

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.model.network import build_network, set_random_weights
from hrvit_deploy.model.variants import load_variant
from hrvit_deploy.options import Task


def test_writes_a_graph_and_says_what_it_is(run: Run, folder: Path) -> None:
    ran = run("export", *SMALL)

    assert ran.code == 0, ran.err
    path = folder / "export" / "hrvit-tiny-classify-64x96.onnx"
    artefact = open_artefact(path)
    assert artefact.manifest.parity is not None
    assert artefact.manifest.parity.passed
    assert "export/hrvit-tiny-classify-64x96.onnx" in ran.out
    assert "passed" in ran.out
    assert "random" in ran.err
    assert artefact.manifest.network.weights == "random"


def test_json_is_one_object_and_all_of_standard_output(run: Run, folder: Path) -> None:
    ran = run("export", *SMALL, "--json", "--precision", "fp16", "--out", "elsewhere")

    assert ran.code == 0, ran.err
    assert ran.json["artefact"] == "elsewhere/hrvit-tiny-classify-64x96-fp16.onnx"
    assert ran.json["parity"]["passed"] is True
    assert (folder / ran.json["artefact"]).is_file()


@pytest.mark.parametrize(
    ("options", "name", "output"),
    [
        (("--batch", "dynamic"), "segment-64x96-bdyn", "logits"),
        (("--batch", "3", "--opset", "17"), "segment-64x96-b3", "logits"),
        (
            ("--input", "uint8-nhwc", "--output", "classmap"),
            "segment-64x96-uint8-classmap",
            "classmap",
        ),
        (("--output", "logits-quarter"), "segment-64x96-logits-quarter", "logits"),
        (("--precision", "bf16"), "segment-64x96-bf16", "logits"),
        (("--without", "dense-shortcut", "--no-simplify"), "segment-64x96", "logits"),
        (("--without", "ragged-stripes"), "segment-64x96", "logits"),
        (("--for", "openvino"), "segment-64x96-openvino", "logits"),
    ],
)
def test_every_kind_of_graph_passes(
    run: Run, folder: Path, options: tuple[str, ...], name: str, output: str
) -> None:
    ran = run("export", *SMALL, "--task", "segment", *options, "--json")

    assert ran.code == 0, (ran.out, ran.err)
    path = folder / "export" / f"hrvit-tiny-{name}.onnx"
    (returned,) = onnx.load(path).graph.output
    assert returned.name == output
    assert open_artefact(path).manifest.outputs[0].name == output


def test_a_checkpoint_brings_its_task_and_classes(run: Run, folder: Path) -> None:
    network = build_network(load_variant(str(TINY)), Task.SEGMENT, 7)
    set_random_weights(network, 3)
    torch.save({"state_dict": network.state_dict()}, folder / "mine.pth")

    ran = run(
        "export", "--variant", str(TINY), "--checkpoint", "mine.pth", "--size", "64", "--json"
    )

    assert ran.code == 0, ran.err
    manifest = open_artefact(folder / ran.json["artefact"]).manifest
    assert manifest.network.task is Task.SEGMENT
    assert manifest.network.num_classes == 7
    assert manifest.network.weights_key == "state_dict"
    assert manifest.sources[-1].kind == "checkpoint"
    assert "random" not in ran.err


def test_a_mean_and_deviation_of_ones_own_are_used(run: Run, folder: Path) -> None:
    own = ("--mean", "100,110,120", "--std", "50,60,70")

    ran = run("export", *SMALL, *own, "--input", "uint8-nhwc", "--json")

    assert ran.code == 0, ran.err
    preparation = open_artefact(folder / ran.json["artefact"]).manifest.preparation
    assert preparation.mean == (100, 110, 120)
    assert preparation.std == (50, 60, 70)


@pytest.mark.parametrize(
    ("options", "code", "problem", "mend"),
    [
        (("--size", "360x640"), 2, "360x640", "352x640 or 384x640"),
        (("--size", "big"), 2, "'big'", "512x1024"),
        (("--variant", "b9"), 2, "there are b1, b2, b3", ".toml"),
        (("--variant", "none.toml"), 1, "none.toml", "path"),
        (("--checkpoint", "none.pth"), 1, "none.pth", "path"),
        (("--output", "classmap"), 2, "classmap", "logits or probabilities"),
        (("--task", "segment", "--output", "probabilities"), 2, "probabilities", "classmap"),
        (("--opset", "16"), 2, "16", "17"),
        (("--opset", "99"), 1, "99", "--opset"),
        (("--precision", "int8"), 2, "int8", "--help"),
        (("--precision", "bf16", "--opset", "20"), 2, "bfloat16", "22"),
        (("--half-io",), 2, "half", "--precision"),
        (("--batch", "many"), 2, "many", "dynamic"),
        (("--batch", "0"), 2, "'0'", "from 1"),
        (("--without", "dense-shortcat"), 2, "dense-shortcat", "dense-shortcut"),
        (("--with", "everything"), 2, "everything", "ragged-stripes"),
        (("--mean", "1,2"), 2, "1,2", "0..255"),
        (("--std", "1,0,1"), 2, "deviation", "above 0"),
        (
            ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"),
            2,
            "0..1",
            "--mean 123.675,116.28,103.53 --std 58.395,57.12,57.375",
        ),
        (("--images", "nowhere"), 1, "nowhere", "folder"),
        (
            ("--task", "segment", "--num-classes", "300", "--output", "classmap"),
            2,
            "300",
            "256",
        ),
        (("--precision", "fp12"), 2, "fp12", "--help"),
        (("--bogus",), 2, "--bogus", "--help"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(
    run: Run, folder: Path, options: tuple[str, ...], code: int, problem: str, mend: str
) -> None:
    ran = run("export", *SMALL, *options, "--json")

    assert ran.code == code
    assert problem in ran.json["error"]
    assert mend in ran.json["hint"]
    assert not list(folder.rglob("*.onnx"))

    spoken = run("export", *SMALL, *options)

    assert spoken.code == code
    line = spoken.err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert problem in line
    assert mend in line
    assert "Traceback" not in spoken.err
    assert spoken.out == ""


def test_a_missed_gate_is_exit_1_and_on_record(run: Run, graph: Path) -> None:
    ran = run("verify", str(graph), "--max-error", "0", "--samples", "1", "--json")

    assert ran.code == 1
    assert ran.json["passed"] is False
    recorded = open_artefact(graph).manifest.parity
    assert recorded is not None
    assert not recorded.passed
