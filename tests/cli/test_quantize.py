"""``quantize``, ``sensitivity`` and ``build-trt --int8`` as they are typed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import onnx
import pytest
from command_line import Run
from foreign_graph import foreign
from PIL import Image

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.images import samples
from hrvit_deploy.options import ImageSize

RTX = ("--backend", "tensorrt-rtx")


@pytest.fixture
def images(folder: Path) -> Path:
    """Six crops in ``calib/images/``."""
    made = folder / "calib" / "images"
    made.mkdir(parents=True)
    for name, pixels in samples(6, ImageSize(64, 96)):
        Image.fromarray(pixels).save(made / f"{name}.png")
    return made


def test_build_int8_with_no_more_words(run: Run, graph: Path, images: Path) -> None:
    ran = run("build-trt", "--int8", "--json", *RTX)

    assert ran.code == 0, ran.err
    found = ran.json
    plan = open_artefact(Path(found["artefact"]))
    engine, quantization = plan.manifest.engine, plan.manifest.quantization
    assert engine is not None
    assert quantization is not None
    assert plan.path.name == f"{graph.stem}-fp16-int8-rtx.plan"
    assert found["int8_layers"] == engine.quantized_layers == quantization.products > 30
    assert found["weight_bytes"] == engine.weight_bytes
    assert 0 < found["int8_weight_bytes"] < engine.weight_bytes
    gate = found["gate"]
    assert gate["metric"] == "agreement"
    assert gate["reference"] == 1
    assert gate["limit"] == 0.99
    assert gate["passed"] == (gate["candidate"] >= 0.99)
    assert f"taking the newest graph, {graph}" in ran.err
    assert (graph.parent.parent / "calib" / f"{graph.stem}.json").is_file()


def test_without_images_it_says_where_to_put_them(run: Run, graph: Path) -> None:
    ran = run("build-trt", "--int8", *RTX)
    assert ran.code == 1
    assert "no images in calib/images/ and no ranges in calib/" in ran.err
    assert "--images DIR" in ran.err
    assert not list(Path("engines").glob("*.plan"))


def test_a_missed_gate_builds_nothing(run: Run, graph: Path, images: Path) -> None:
    ran = run("build-trt", "--int8", "--min-agreement", "1", "--json", *RTX)

    assert ran.code == 1
    assert "of the decisions are the float32 graph's" in ran.json["error"]
    assert "--auto" in ran.json["hint"]
    assert "--fp16" in ran.json["hint"]
    assert not list(Path("engines").glob("*.plan"))


def test_quantize_tells_what_it_did_and_fails_on_its_gate(
    run: Run, graph: Path, images: Path
) -> None:
    ran = run("quantize", "--min-agreement", "1", "--method", "minmax", "--json")
    assert ran.code == 1
    assert ran.json["gate"]["passed"] is False
    assert ran.json["quantization"]["method"] == "minmax"
    assert ran.json["quantization"]["rest"] == "fp32"

    ran = run("quantize", "--min-agreement", "0.1", "--with", "attention", "--without", "dense")
    assert ran.code == 0, ran.err
    assert "linear, pointwise, attention" in ran.out
    assert "passed: agreement" in ran.out


def test_noise_marks_what_is_made_of_it(run: Run, graph: Path) -> None:
    ran = run("quantize", "--random-data", "--min-agreement", "0", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["quantization"]["random_data"] is True
    assert "noise" in ran.err


def test_sensitivity_ranks_every_product(run: Run, graph: Path, images: Path) -> None:
    ran = run("sensitivity", "--samples", "1", "--json")

    assert ran.code == 0, ran.err
    damages = ran.json["damages"]
    cosines = [damage["cosine"] for damage in damages]
    assert cosines == sorted(cosines)
    assert 0.5 < cosines[0] < 1
    assert len({damage["name"] for damage in damages}) == len(damages) > 30
    assert Path(ran.json["artefact"]).is_file()
    assert Image.open(ran.json["chart"]).size[0] > 1000


def test_a_graph_quantized_elsewhere_is_built_untouched(run: Run, folder: Path) -> None:
    path = folder / "trained.onnx"
    onnx.save(foreign(), path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    ran = run("build-trt", "--int8", path.name, "--json", *RTX)

    assert ran.code == 0, ran.err
    assert ran.json["int8_layers"] == 2
    assert ran.json["gate"] is None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    plan = open_artefact(Path(ran.json["artefact"]))
    assert plan.manifest.sources[0].sha256 == before
    assert "has no sidecar: taken for HRViT-b1 to segment 5 classes" in ran.err


def test_words_that_only_quantization_hears_are_refused_elsewhere(
    run: Run, graph: Path
) -> None:
    ran = run("build-trt", "--fp16", "--auto")
    assert ran.code == 2
    assert "add --int8 or --fp8" in ran.err
    ran = run("quantize", "--max-drop", "1")
    assert ran.code == 2
    assert "--data DIR" in ran.err
    ran = run("quantize", "--rest", "bf16")
    assert ran.code == 2


def test_a_quantized_graph_is_taken_before_an_older_float_one(
    run: Run, graph: Path, images: Path
) -> None:
    assert run("quantize", "--min-agreement", "0").code == 0
    ran = run("build-trt", "--int8", *RTX)
    assert ran.code == 0, ran.err
    assert f"taking the newest graph, export/{graph.stem}-int8.onnx" in ran.err
    shutil.rmtree("export")
    assert run("build-trt", "--int8", *RTX).code == 1
