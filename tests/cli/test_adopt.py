"""Graphs of other tools, taken in and used as our own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from support.command_line import TINY, Run
from support.foreign_exports import (
    dynamic_export,
    other_network,
    plain_export,
    rewritten,
    with_labels,
)
from support.graph_making import Arrays, Value, floats, make_graph
from support.networks import tiny

import hrvit_deploy
from hrvit_deploy.artefact import Parity, Weights, open_artefact, record, sha256_of
from hrvit_deploy.options import OutputFormat, Precision, Task
from hrvit_deploy.verdict import inherited

LIKE = ("--samples", "2")
BY_WEIGHTS = ("--variant", str(TINY), "--checkpoint", "weights.pth", *LIKE)


@pytest.fixture(scope="session")
def exports(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of graphs that other tools wrote, and the weights of the first."""
    folder = tmp_path_factory.mktemp("exports")
    network = tiny(Task.SEGMENT)
    torch.save(network.state_dict(), folder / "weights.pth")
    plain_export(network, folder / "plain.onnx")
    with_labels(folder / "plain.onnx", folder / "labels.onnx")
    plain_export(other_network(), folder / "other.onnx", (50, 70))
    dynamic_export(other_network(), folder / "open.onnx")
    (graph,) = (exported / "export").glob("*.onnx")
    rewritten(graph, folder / "optimised.onnx")
    rewritten(graph, folder / "fused.onnx", "ORT_ENABLE_EXTENDED")
    return folder


@pytest.fixture
def here(exports: Path, folder: Path) -> Path:
    """Copies of them, in the folder that commands run in."""
    shutil.copytree(exports, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def photos(folder: Path) -> Path:
    """Forty images."""
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for index in range(40):
        coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((96, 64)).save(folder / "photos" / f"{index}.png")
    return folder / "photos"


def damage(path: Path) -> None:
    """Turn the largest weight of a graph round."""
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = numpy_helper.to_array(weight)[::-1].tobytes()
    onnx.save(model, path)


def test_a_plain_export_is_taken_in_by_its_weights(run: Run, here: Path) -> None:
    ran = run("adopt", "plain.onnx", *BY_WEIGHTS, "--json")
    assert ran.code == 0, ran.err
    manifest = open_artefact(here / "plain.onnx").manifest
    assert manifest.origin is not None
    assert manifest.origin.producer.startswith("pytorch 2.")
    assert manifest.origin.compared_with == "eager"
    assert manifest.origin.compared_sha256 == sha256_of(here / "weights.pth")
    assert manifest.network.title == "HRViT-tiny"
    assert manifest.network.num_classes == 5
    assert manifest.network.multiply_adds > 0
    assert (manifest.inputs[0].name, manifest.outputs[0].name) == ("pixels", "scores")
    assert manifest.sources[-1].kind == "checkpoint"
    assert manifest.parity is not None
    assert manifest.parity.passed
    shown = run("inspect", "plain.onnx")
    assert "origin" in shown.out
    assert "of pytorch 2." in shown.out
    verified = run("verify", "plain.onnx", "--samples", "2")
    assert verified.code == 0, verified.err


def test_labels_are_compared_by_what_they_decide(run: Run, here: Path) -> None:
    ran = run("adopt", "labels.onnx", *BY_WEIGHTS)
    assert ran.code == 0, ran.err
    manifest = open_artefact(here / "labels.onnx").manifest
    assert manifest.output_format is OutputFormat.CLASSMAP
    assert (manifest.outputs[0].dtype, manifest.network.num_classes) == ("int64", 5)
    with hrvit_deploy.load("labels.onnx") as session:
        labels = session(np.zeros((80, 120, 3), np.uint8))
    assert labels.shape == (80, 120)
    assert labels.max() < 5
    refused = run("embed", "labels.onnx", "--as", "cpp")
    assert refused.code == 2
    assert "in int64, and C++ reads float32" in refused.err
    assert run("embed", "labels.onnx", "--as", "python").code == 0


@pytest.mark.parametrize("name", ["optimised", "fused"])
def test_a_graph_that_a_tool_rewrote_is_taken_in_by_ours(
    run: Run, here: Path, graph: Path, name: str
) -> None:
    ran = run("adopt", f"{name}.onnx", "--like", str(graph), "--out", "taken", *LIKE)
    assert ran.code == 0, ran.err
    known, made = open_artefact(graph), open_artefact(here / "taken" / f"{name}.onnx")
    assert made.manifest.network == known.manifest.network
    assert made.manifest.preparation == known.manifest.preparation
    assert made.manifest.origin is not None
    assert made.manifest.origin.compared_sha256 == known.manifest.sha256
    assert not (here / f"{name}.json").exists()
    assert ("only onnxruntime runs it" in ran.err) == (name == "fused")


def test_our_own_graph_rewritten_in_its_place_is_compared_with_its_network(
    run: Run, here: Path, graph: Path
) -> None:
    shutil.copyfile(here / "optimised.onnx", graph)
    refused = run("inspect", str(graph))
    assert refused.code == 1
    assert f"hrvit-deploy adopt {graph}" in refused.err
    ran = run("adopt", str(graph), *LIKE)
    assert ran.code == 0, ran.err
    assert open_artefact(graph).manifest.origin is not None


def test_a_graph_without_a_sidecar_is_told_of_adopt(run: Run, here: Path) -> None:
    for command in ("inspect", "verify", "bench", "calibrate", "predict"):
        extra = ("x.png",) if command == "predict" else ()
        refused = run(command, "plain.onnx", *extra)
        assert refused.code == 1
        assert "hrvit-deploy adopt plain.onnx" in refused.err


def test_a_graph_of_other_weights_is_refused_with_its_figures(
    run: Run, here: Path, graph: Path
) -> None:
    damage(here / "plain.onnx")
    ran = run("adopt", "plain.onnx", "--like", str(graph), *LIKE)
    assert ran.code == 1
    assert "does not answer as onnxruntime-cpu does" in ran.err
    assert "cosine" in ran.err
    assert "agreement" in ran.err
    assert not (here / "plain.json").exists()


def test_another_network_goes_through_every_stage(run: Run, here: Path, photos: Path) -> None:
    ran = run("adopt", "other.onnx", "--mean", "0,0,0", "--std", "255,255,255")
    assert ran.code == 0, ran.err
    assert "compared with nothing" in ran.err
    assert "warning" not in ran.err
    verified = run("verify", "other.onnx", "--json")
    assert verified.code == 0, verified.err
    assert verified.json["reference"] == "openvino-cpu"
    timed = run("bench", "other.onnx", "--rounds", "1", "--runs", "1", "--warmup", "0")
    assert timed.code == 0, timed.err
    measured = run("calibrate", "other.onnx", "--images", "photos")
    assert measured.code == 0, measured.err
    quantized = run("quantize", "other.onnx", "--images", "photos", "--samples", "4")
    assert quantized.code == 0, quantized.err
    # What was made of it stays another network's, and is compared with what it was made from.
    again = run("verify", "export/other-int8.onnx")
    assert again.code == 2
    assert "--against other.onnx" in again.err
    against = run("verify", "export/other-int8.onnx", "--against", "other.onnx")
    assert against.code == 0, against.err
    assert open_artefact(here / "export" / "other-int8.onnx").manifest.origin is not None


def test_an_odd_normalisation_is_doubted(run: Run, here: Path) -> None:
    ran = run("adopt", "other.onnx", "--mean", "0,0,0", "--std", "1,1,1")
    assert ran.code == 0, ran.err
    assert "leave pixels as they are" in ran.err


def test_another_network_has_no_eager_one(run: Run, here: Path) -> None:
    run("adopt", "other.onnx")
    refused = run("verify", "other.onnx", "--against", "eager")
    assert refused.code == 1
    assert "other is a graph of another network" in refused.err
    timed = run("bench", "other.onnx", "--against", "eager", "--rounds", "1", "--runs", "1")
    assert timed.code == 1
    assert "other is a graph of another network" in timed.out


def test_a_hostile_file_name_names_no_network_so(run: Run, here: Path) -> None:
    (here / "other.onnx").rename(here / "`id` <b>.onnx")
    ran = run("adopt", "`id` <b>.onnx", "--out", "taken")
    assert ran.code == 0, ran.err
    network = open_artefact(here / "taken" / "`id` <b>.onnx").manifest.network
    assert network.name == "_id_ _b_"


def test_open_sizes_need_one_and_become_fixed_in_the_engine(run: Run, here: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    refused = run("adopt", "open.onnx")
    assert refused.code == 1
    assert "--size" in refused.err
    ran = run("adopt", "open.onnx", "--size", "34x50")
    assert ran.code == 0, ran.err
    info = open_artefact(here / "open.onnx").manifest.inputs[0]
    assert info.shape == ("batch", 3, 34, 50)
    built = run("build-trt", "open.onnx", "--fp32", "--backend", "tensorrt-rtx")
    assert built.code == 0, built.err


def test_classes_are_given_to_labels(run: Run, here: Path) -> None:
    with_labels(here / "other.onnx", here / "map.onnx")
    (here / "names.txt").write_text("a\nb\nc\nd\n")
    run("adopt", "map.onnx", "--classes", "names.txt")
    assert open_artefact(here / "map.onnx").manifest.network.class_names == tuple("abcd")
    refused = run("adopt", "other.onnx", "--num-classes", "7")
    assert refused.code == 2
    assert "returns 4 scores" in refused.err


def test_labels_without_classes_predict_nothing(run: Run, here: Path, photos: Path) -> None:
    with_labels(here / "other.onnx", here / "map.onnx")
    assert run("adopt", "map.onnx").code == 0
    assert run("verify", "map.onnx", "--samples", "2").code == 0
    refused = run("predict", "map.onnx", "photos")
    assert refused.code == 1
    assert "--num-classes" in refused.err


FLOAT, UINT8, INT64 = int(TensorProto.FLOAT), int(TensorProto.UINT8), int(TensorProto.INT64)


WEIGHTS: Arrays = {
    "w": floats(1, 3, 1, 1),
    "v": floats(4, 3, 1, 1),
    "boxed": np.array([1, -1, 4], np.int64),
}


def graph_of(
    taken: Value, *operators: onnx.NodeProto, returned: list[Value]
) -> onnx.ModelProto:
    return make_graph(operators, taken, returned, WEIGHTS)


IMAGE = Value("image", (1, 3, 32, 32))
SCORES = helper.make_node("Conv", ["image", "v"], ["scores"])
OTHERS = {
    "takes image: float32 1 x 32 x 32 x 3": graph_of(
        Value("image", (1, 32, 32, 3)),
        helper.make_node("Transpose", ["image"], ["out"], perm=[0, 3, 1, 2]),
        returned=[Value("out", (1, 3, 32, 32))],
    ),
    "takes image: uint8 1 x 3 x 32 x 32": graph_of(
        Value("image", (1, 3, 32, 32), UINT8),
        helper.make_node("Cast", ["image"], ["out"], to=FLOAT),
        returned=[Value("out", (1, 3, 32, 32))],
    ),
}


@pytest.mark.parametrize("words", OTHERS)
def test_what_a_sidecar_cannot_say_is_refused(run: Run, folder: Path, words: str) -> None:
    onnx.save(OTHERS[words], folder / "net.onnx")
    refused = run("adopt", "net.onnx")
    assert refused.code == 1
    assert words in refused.err
    assert refused.err.count("error:") == 1
    assert not (folder / "net.json").exists()


RAW = {
    "labels": graph_of(
        IMAGE,
        SCORES,
        helper.make_node("ArgMax", ["scores"], ["labels"], axis=1),
        returned=[Value("labels", (1, 1, 32, 32), INT64)],
    ),
    "one": graph_of(
        IMAGE,
        helper.make_node("Conv", ["image", "w"], ["one"]),
        returned=[Value("one", (1, 1, 32, 32))],
    ),
    "boxes": graph_of(
        IMAGE,
        SCORES,
        helper.make_node("Reshape", ["scores", "boxed"], ["boxes"]),
        returned=[Value("boxes", (1, 1024, 4))],
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_outputs_of_another_kind_are_compared_in_numbers(
    run: Run, folder: Path, name: str
) -> None:
    onnx.save(RAW[name], folder / "net.onnx")
    ran = run("adopt", "net.onnx", "--mean", "0,0,0", "--std", "255,255,255")
    assert ran.code == 0, ran.err
    assert f"{name} is neither scores nor labels" in ran.err
    verified = run("verify", "net.onnx", "--json")
    assert verified.code == 0, verified.err
    assert "agreement" not in verified.json["gates"]
    assert verified.json["images"] == 8
    for command in (("predict", "net.onnx", "."), ("embed", "net.onnx", "--as", "python")):
        refused = run(*command)
        assert refused.code == 1
        assert "neither scores nor labels" in refused.err
    assert "decide nothing known" in run("inspect", "net.onnx").out


def test_numbers_alone_judge_what_decides_nothing(run: Run, folder: Path, photos: Path) -> None:
    onnx.save(RAW["boxes"], folder / "net.onnx")
    assert run("adopt", "net.onnx", "--mean", "0,0,0", "--std", "255,255,255").code == 0
    with_classifier = ("--images", "photos", "--samples", "4", "--with", "classifier")
    made = run("quantize", "net.onnx", *with_classifier)
    assert made.code == 0, made.err
    assert "judged by how far its numbers lie" in made.err
    manifest = open_artefact(folder / "export" / "net-int8.onnx").manifest
    assert manifest.gate is None
    assert manifest.parity is not None
    assert manifest.parity.passed
    refused = run("quantize", "net.onnx", *with_classifier, "--auto")
    assert (refused.code, "--auto ranks products" in refused.err) == (2, True)


def test_what_misses_is_taken_if_somebody_says_so(run: Run, here: Path, graph: Path) -> None:
    damage(here / "optimised.onnx")
    ran = run("adopt", "optimised.onnx", "--like", str(graph), "--accept-parity", *LIKE)
    assert ran.code == 0, ran.err
    assert "is taken in spite of this" in ran.err
    parity = open_artefact(here / "optimised.onnx").manifest.parity
    assert parity is not None
    assert (parity.passed, parity.accepted) == (False, True)
    assert "ACCEPTED" in run("inspect", "optimised.onnx").out


def test_what_its_reference_or_its_own_sidecar_missed_is_not_lost(
    run: Run, here: Path, graph: Path
) -> None:
    missed = Parity(
        "eager", 8, 1.0, 1.0, 0.5, 0.5, passed=False, gates={}, note="cosine 0.5 is below"
    )
    record(open_artefact(graph), parity=missed)
    refused = run("adopt", "optimised.onnx", "--like", str(graph), *LIKE)
    assert (refused.code, "cosine 0.5 is below" in refused.err) == (1, True)
    ran = run("adopt", "optimised.onnx", "--like", str(graph), "--accept-parity", *LIKE)
    assert ran.code == 0, ran.err
    assert "cosine 0.5" in inherited(open_artefact(here / "optimised.onnx").manifest)[0]
    # Nor is it by being taken in again, from its own sidecar.
    own = run("adopt", str(graph), *LIKE)
    assert (own.code, "cosine 0.5 is below" in own.err) == (1, True)
    assert open_artefact(graph).manifest.parity == missed


def test_a_quantized_graph_is_held_to_the_quality_gate(
    run: Run, here: Path, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its comparison alone has wide gates, and counts every pixel alike."""
    monkeypatch.setattr(
        "hrvit_deploy.foreign.describe.precision_of", lambda _: (Precision.INT8, None)
    )
    monkeypatch.setattr("hrvit_deploy.measure.parity.errors.Agreement.by_class", 0.5)
    trained = open_artefact(graph)
    network = replace(trained.manifest.network, weights=Weights.CHECKPOINT)
    record(trained, network=network)
    ran = run("adopt", "optimised.onnx", "--like", str(graph), *LIKE)
    assert (ran.code, "agree with the float32 graph's by 0.5000" in ran.err) == (1, True)
    assert not (here / "optimised.json").exists()
    ran = run("adopt", "optimised.onnx", "--like", str(graph), "--accept-parity", *LIKE)
    assert ran.code == 0, ran.err
    assert "by 0.5000" in inherited(open_artefact(here / "optimised.onnx").manifest)[0]


def test_images_that_tell_nothing_judge_no_graph(run: Run, here: Path, graph: Path) -> None:
    (here / "black").mkdir()
    for index in range(2):
        Image.new("RGB", (96, 64)).save(here / "black" / f"{index}.png")
    ran = run("adopt", "optimised.onnx", "--like", str(graph), "--images", "black")
    assert ran.code == 1
    assert "cannot be judged" in ran.err
    assert not (here / "optimised.json").exists()


def test_a_quantized_graph_of_known_weights_is_judged(
    run: Run, here: Path, photos: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    run("adopt", "other.onnx", "--mean", "0,0,0", "--std", "255,255,255")
    made = run("quantize", "other.onnx", "--images", "photos", "--samples", "4")
    assert made.code == 0, made.err
    shutil.copyfile(here / "export" / "other-int8.onnx", here / "again.onnx")
    ran = run("adopt", "again.onnx", "--like", "other.onnx", "--images", "photos")
    assert ran.code == 0, ran.err
    build = ("build-trt", "again.onnx", "--int8", "--backend", "tensorrt-rtx")
    built = run(*build, "--images", "photos", "--min-agreement", "0.9999999")
    assert built.code == 1
    assert "agree with the float32 graph's" in built.err
    assert run(*build, "--images", "photos", "--min-agreement", "0.5").code == 0


def test_an_hrvit_returns_scores_or_labels(run: Run, here: Path) -> None:
    model = onnx.load(here / "labels.onnx")
    (keeps,) = (a for a in model.graph.node[-1].attribute if a.name == "keepdims")
    keeps.i = 1
    one = onnx.TensorShapeProto.Dimension(dim_value=1)
    model.graph.output[0].type.tensor_type.shape.dim.insert(1, one)
    onnx.save(model, here / "labels.onnx")
    refused = run("adopt", "labels.onnx", *BY_WEIGHTS)
    assert refused.code == 1
    assert "int64 1 x 1 x 64 x 96, which a network to segment does not" in refused.err


def test_one_of_several_outputs_is_used(run: Run, folder: Path) -> None:
    both = graph_of(
        IMAGE,
        SCORES,
        helper.make_node("Relu", ["scores"], ["more"]),
        returned=[Value("scores", (1, 4, 32, 32)), Value("more", (1, 4, 32, 32))],
    )
    onnx.save(both, folder / "net.onnx")
    ran = run("adopt", "net.onnx")
    assert "of its outputs scores is used, and not more" in ran.err
    ran = run("adopt", "net.onnx", "--output", "more")
    assert ran.code == 0, ran.err
    outputs = open_artefact(folder / "net.onnx").manifest.outputs
    assert [info.name for info in outputs] == ["more", "scores"]
    assert run("verify", "net.onnx").code == 0
    refused = run("adopt", "net.onnx", "--output", "less")
    assert refused.code == 1
    assert "take one of scores, more" in refused.err


def test_nothing_of_others_is_overwritten(run: Run, here: Path) -> None:
    (here / "other.json").write_text('{"lr": 0.1}')
    refused = run("adopt", "other.onnx")
    assert refused.code == 1
    assert "other.json is in the way" in refused.err
    assert (here / "other.json").read_text() == '{"lr": 0.1}'
    (here / "there").mkdir()
    (here / "there" / "other.onnx").write_bytes(b"of somebody")
    refused = run("adopt", "other.onnx", "--out", "there")
    assert refused.code == 1
    assert "is another file" in refused.err
    assert (here / "there" / "other.onnx").read_bytes() == b"of somebody"
    stray = here / "away" / "other.onnx.data"
    stray.parent.mkdir()
    stray.write_bytes(b"weights of somebody")
    assert run("adopt", "other.onnx", "--out", "away").code == 1
    assert stray.read_bytes() == b"weights of somebody"


def test_weights_beside_a_graph_go_with_it(run: Run, here: Path) -> None:
    model = onnx.load(here / "other.onnx")
    path = here / "large.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert run("adopt", "large.onnx", "--out", "taken").code == 0
    made = open_artefact(here / "taken" / "large.onnx")
    assert made.manifest.graph is not None
    assert list(made.manifest.graph.external_data) == ["w.bin"]
    assert run("verify", "taken/large.onnx", "--samples", "2").code == 0
    (here / "taken" / "w.bin").write_bytes(bytes(10))
    assert run("inspect", "taken/large.onnx").code == 1


def test_options_that_contradict_are_refused(run: Run, here: Path, graph: Path) -> None:
    both = run("adopt", "plain.onnx", "--like", str(graph), *BY_WEIGHTS)
    assert (both.code, "not with both" in both.err) == (2, True)
    said = run("adopt", "plain.onnx", "--like", str(graph), "--mean", "1,2,3")
    assert (said.code, "--like takes" in said.err) == (2, True)
    no_weights = run("adopt", "plain.onnx", "--variant", "b1")
    assert (no_weights.code, "--checkpoint FILE" in no_weights.err) == (2, True)


def test_the_sidecar_is_one_that_json_readers_know(run: Run, here: Path) -> None:
    run("adopt", "other.onnx")
    sidecar = json.loads((here / "other.json").read_text())
    assert sidecar["network"]["variant"] is None
    assert sidecar["network"]["name"] == "other"
    assert sidecar["origin"]["file"] == "other.onnx"
