"""``quantize``, ``sensitivity`` and ``build-trt --int8`` as they are typed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
from PIL import Image
from support.command_line import SMALL, Run
from support.foreign_graph import foreign

from hrvit_deploy.artefact import open_artefact, record
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
    assert quantization.rest == "fp16"
    assert found["int8_layers"] == engine.quantized_layers == quantization.products > 30
    assert found["weight_bytes"] == engine.weight_bytes
    assert 0 < found["int8_weight_bytes"] < engine.weight_bytes
    gate = found["gate"]
    assert gate["metric"] == "agreement"
    assert gate["reference"] == 1
    assert gate["limit"] == 0.95
    assert gate["passed"] == (gate["candidate"] >= 0.95)
    assert f"taking the newest fp32 graph, {graph}" in ran.err
    assert (graph.parent.parent / "calib" / f"{graph.stem}.json").is_file()


def test_fp8_on_the_same_road(run: Run, graph: Path, images: Path) -> None:
    ran = run("build-trt", "--fp8", "--json", *RTX)

    assert ran.code == 0, ran.err
    plan = open_artefact(Path(ran.json["artefact"]))
    assert plan.path.name == f"{graph.stem}-fp16-fp8-rtx.plan"
    engine, quantization = plan.manifest.engine, plan.manifest.quantization
    assert engine is not None
    assert quantization is not None
    assert engine.products["float8_e4m3fn"] == quantization.products == ran.json["fp8_layers"]


def test_without_images_it_says_where_to_put_them(run: Run, graph: Path) -> None:
    ran = run("build-trt", "--int8", *RTX)
    assert ran.code == 1
    assert "no images in calib/images/ and no ranges in calib/" in ran.err
    assert "--images DIR" in ran.err
    assert not list(Path("engines").glob("*.plan"))


def test_a_missed_gate_builds_nothing(run: Run, graph: Path, images: Path) -> None:
    ran = run("build-trt", "--int8", "--min-agreement", "1", "--json", *RTX)

    assert ran.code == 1
    assert "decisions agree with the float32 graph's by 0." in ran.json["error"]
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
    assert ran.json["verdict"]["outcome"] == "FAILED"
    assert Path(ran.json["artefact"]).parent.name == "refused"
    assert "is refused: FAILED" in ran.err
    assert not list(Path("export").glob("*-int8.*"))

    ran = run("quantize", "--min-agreement", "0.1", "--with", "attention", "--without", "dense")
    assert ran.code == 0, ran.err
    assert "linear, pointwise, attention" in ran.out
    assert "verdict    not held: the weights are random" in ran.out
    assert "gate       agreement 0." in ran.out
    assert "all of the 6 images it was judged on were calibrated on too" in ran.err


def test_what_is_accepted_says_so_to_the_end(run: Run, graph: Path, images: Path) -> None:
    words = ("--min-agreement", "1", "--accept-parity")
    ran = run("quantize", *words, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["verdict"]["outcome"].startswith("ACCEPTED")
    assert "is taken in spite of this" in ran.err

    made = graph.with_stem(f"{graph.stem}-int8")
    ran = run("build-trt", "--int8", "--min-agreement", "1", str(made), "--json", *RTX)
    assert ran.code == 1
    assert run("quantize", *words).code == 0
    # What was accepted stays so, unless a limit is given anew.
    assert run("build-trt", "--int8", str(made), *RTX).code == 0
    ran = run("build-trt", "--int8", *words, str(made), "--json", *RTX)
    assert ran.code == 0, ran.err
    verdict = run("inspect", ran.json["artefact"], "--json").json["verdict"]
    assert verdict["outcome"].startswith("ACCEPTED")
    assert "its decisions agree" in verdict["reason"]


@pytest.mark.parametrize("limit", ["0", "0.02"])
def test_a_limit_that_anything_reaches_judges_nothing(
    run: Run, graph: Path, images: Path, limit: str
) -> None:
    ran = run("quantize", "--min-agreement", limit)
    assert ran.code == 1
    assert "CANNOT BE JUDGED" in ran.out
    assert "--data" in ran.err
    assert not list(Path("export").glob("*-int8.*"))


def test_images_that_show_nothing_judge_nothing(run: Run, graph: Path, images: Path) -> None:
    assert run("calibrate", "--method", "minmax").code == 0
    black = Path("black")
    black.mkdir()
    for name in "ab":
        Image.new("RGB", (96, 64)).save(black / f"{name}.png")
    ranges = Path("calib") / f"{graph.stem}.json"
    ran = run(
        "quantize", "--ranges", str(ranges), "--images", "black", "--min-agreement", "0.1"
    )
    assert ran.code == 1
    assert "CANNOT BE JUDGED" in ran.out
    ran = run("verify", str(graph), "--images", "black")
    assert ran.code == 1
    assert "all 2 images are each of one colour" in ran.out
    # What other images told of it stands; and where none did, whoever takes it is told.
    assert "keeps the verdict" in ran.err
    record(open_artefact(graph), parity=None)
    assert run("verify", str(graph), "--images", "black").code == 1
    ran = run("embed", str(graph), "--as", "python", "--out", "embedded")
    assert ran.code == 1
    assert "of one colour" in ran.err
    assert not Path("embedded").exists()


def test_others_than_were_calibrated_on_are_judged(run: Run, graph: Path, images: Path) -> None:
    assert run("calibrate", "--samples", "4").code == 0
    ranges = Path("calib") / f"{graph.stem}.json"
    ran = run("quantize", "--ranges", str(ranges), "--min-agreement", "0.1", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["gate"]["images"], ran.json["gate"]["seen"]) == (2, 0)
    assert "calibrated on too" not in ran.err


def test_noise_marks_what_is_made_of_it(run: Run, graph: Path) -> None:
    ran = run("quantize", "--random-data", "--accept-parity", "--json")
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
    ran = run("build-trt", "--fp32", "--min-agreement", "0.9")
    assert ran.code == 2
    ran = run("quantize", "--data", "d", "--max-drop", "150")
    assert ran.code == 2
    assert "nothing can lose 150 points" in ran.err


def test_a_graph_quantized_before_is_held_to_todays_gate(run: Run, graph: Path) -> None:
    assert run("quantize", "--random-data", "--accept-parity").code == 0
    made = graph.with_stem(f"{graph.stem}-int8")

    ran = run("build-trt", "--int8", str(made), "--min-agreement", "1", *RTX)
    assert ran.code == 1
    assert "decisions agree with the float32 graph's by 0." in ran.err
    assert "calibrated on noise" in ran.err
    ran = run("build-trt", "--int8", str(made), "--auto", *RTX)
    assert ran.code == 2
    assert "is quantized already" in ran.err
    # Without a name, what was tried before is not built by chance.
    ran = run("build-trt", "--int8", *RTX, "--method", "mse")
    assert ran.code == 1
    assert f"taking the newest fp32 graph, {graph}" in ran.err


def test_a_float16_gate_can_be_loosened_and_tightened(run: Run, graph: Path) -> None:
    words = ("build-trt", "--fp16", *RTX, "--min-agreement")
    assert run(*words, "1").code == 1
    assert run(*words, "0.9").code == 0
    assert run(*words, "1").code == 1


def test_a_path_that_is_not_there_is_not_passed_over(run: Run, graph: Path) -> None:
    for command in (("build-trt", "--fp16"), ("build-trt", "--int8"), ("quantize",)):
        ran = run(*command, "--images", "nowhere")
        assert ran.code == 1
        assert "there is no nowhere" in ran.err


def test_a_fixed_batch_goes_all_the_way(run: Run, folder: Path, images: Path) -> None:
    made = run("export", *SMALL, "--task", "segment", "--batch", "2")
    assert made.code == 0, made.err
    ran = run("sensitivity", "--samples", "1")
    assert ran.code == 0, ran.err
