"""``evaluate`` and ``predict`` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import labelled, small_artefacts
from support.command_line import Run

from hrvit_deploy.artefact import Parity, open_artefact, record


def scenes(folder: Path) -> Path:
    return labelled.ade20k(folder / "data", count=3)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--fit", "pad"),
        ("--fit", "slide", "--flip"),
        ("--fit", "slide", "--stride", "32x48", "--scales", "0.5,1"),
        ("--runner", "eager"),
    ],
)
def test_evaluate_json_has_the_figures(
    run: Run, graph: Path, folder: Path, options: tuple[str, ...]
) -> None:
    data = scenes(folder)

    ran = run("evaluate", str(graph), "--data", str(data), *options, "--json")

    assert ran.code == 0, ran.err
    found = ran.json
    assert found["images"] == 3
    assert 0 <= found["miou"] <= 1
    assert 0 <= found["pixel_accuracy"] <= 1
    shares = [share for share in found["iou"].values() if share is not None]
    assert found["miou"] == pytest.approx(np.mean(shares))
    assert list(found["iou"]) == ["0", "1", "2", "3", "4"]
    assert found["runner"] == ("eager" if "eager" in options else "onnxruntime-cpu")
    saved = json.loads((folder / found["saved"]).read_text())
    counts = np.array(saved["confusion"]["counts"])
    assert counts.shape == (5, 5)
    assert np.trace(counts) / counts.sum() == pytest.approx(found["pixel_accuracy"])
    assert saved["confusion"]["classes"] == ["0", "1", "2", "3", "4"]
    assert [path.name for path in (folder / "bench").iterdir()] == [Path(found["saved"]).name]


def test_the_artefact_and_the_network_it_came_from_judge_alike(
    run: Run, graph: Path, folder: Path
) -> None:
    data = ("--data", str(scenes(folder)), "--json")
    ours, theirs = run("evaluate", *data), run("evaluate", *data, "--runner", "eager")
    assert "taking the newest graph" in ours.err
    assert ours.json["miou"] == pytest.approx(theirs.json["miou"], abs=1e-3)
    assert ours.json["saved"] != theirs.json["saved"]


def test_evaluate_prints_a_table(run: Run, graph: Path, folder: Path) -> None:
    data = scenes(folder)
    (data / "classes.txt").write_text("wall\nsky\ntree\nroad\ndoor\n")

    ran = run("evaluate", str(graph), "--data", str(data), "--out", "figures")

    assert ran.code == 0, ran.err
    for word in ("mIoU", "pixel accuracy", "3 images of ade20k", "sky", "figures/"):
        assert word in ran.out


def test_an_interrupted_evaluation_goes_on(
    run: Run, graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hrvit_deploy.images import load_turned

    command = ("evaluate", str(graph), "--data", str(scenes(folder)), "--json")
    loaded: list[str] = []
    stop_at = 2

    def counting(path: Path) -> Any:
        loaded.append(path.stem)
        if len(loaded) == stop_at:
            raise KeyboardInterrupt
        return load_turned(path)

    monkeypatch.setattr("hrvit_deploy.measure.accuracy.evaluate.load_turned", counting)
    stopped = run(*command)
    assert stopped.code == 130
    assert "1 images are counted; the same command goes on" in stopped.err
    assert [path.suffix for path in (folder / "bench").iterdir()] == [".state"]

    stop_at = 0
    assert run(*command).json["images"] == 3
    assert loaded == ["v0", "v1", "v1", "v2"]

    loaded.clear()
    stop_at = 3
    run(*command)
    stop_at = 0
    other = run(*command, "--flip")
    assert "starting anew" in other.err
    assert other.json["images"] == 3


def test_a_classifier_is_judged_and_asked(run: Run, folder: Path) -> None:
    graph = str(small_artefacts.artefact(folder).path)
    data = labelled.imagenet(folder / "data" / "val", ("cat", "dog", "emu"))
    image = str(data / "cat" / "0.png")

    judged = run("evaluate", graph, "--data", "data", "--json")
    table = run("evaluate", graph, "--data", "data")
    asked = run("predict", graph, image, "--json")
    spoken = run("predict", graph, image)

    assert judged.code == table.code == asked.code == spoken.code == 0, judged.err
    assert judged.json["images"] == 9
    assert 0 < judged.json["top1"] < judged.json["top5"] == 1
    assert "top-1" in table.out
    (found,) = asked.json["predictions"]
    assert [set(one) for one in found["top5"]] == [{"class", "index", "probability"}] * 3
    assert sum(one["probability"] for one in found["top5"]) == pytest.approx(1)
    assert "likeliest" in spoken.out
    assert not (folder / "predictions").exists()


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (("--data", "nowhere"), 1, "nowhere"),
        (("--data", "empty"), 1, "empty"),
        (("--data", "data", "--layout", "imagenet"), 1, "folder with images"),
        (("--data", "data", "--layout", "coco"), 2, "coco"),
        (("--data", "data", "--stride", "16"), 2, "stride"),
        (("--data", "data", "--fit", "slide", "--stride", "97"), 2, "gaps"),
        (("--data", "data", "--scales", "2"), 2, "scale"),
        (("--data", "data", "--fit", "slide", "--scales", "0"), 2, "scales"),
        (("--data", "data", "--classes", "ade20k"), 1, "150 classes"),
        (("--data", "data", "--samples", "0"), 2, "samples"),
        ((), 2, "data"),
    ],
)
def test_evaluate_refuses_what_cannot_be_meant(
    run: Run, graph: Path, folder: Path, options: tuple[str, ...], code: int, problem: str
) -> None:
    scenes(folder)
    (folder / "empty").mkdir()

    ran = run("evaluate", str(graph), *options, "--json")

    assert ran.code == code
    assert problem in ran.json["error"]
    assert ran.json["hint"]
    assert not (folder / "bench").exists()


def test_predict_draws_and_names_what_is_broken(run: Run, graph: Path, folder: Path) -> None:
    labelled.save(folder / "in" / "a.png", labelled.picture(0, 70, 50))
    (folder / "in" / "b.jpg").write_text("no picture")

    ran = run("predict", str(graph), "in", "--json", "--alpha", "0.6")
    spoken = run("predict", str(graph), "in/a.png", "in/b.jpg")

    assert ran.code == spoken.code == 1
    (made,) = ran.json["predictions"]
    assert made["image"] == "in/a.png"
    assert made["overlay"] == "predictions/a-overlay.png"
    assert Image.open(folder / made["labels"]).size == (50, 70)
    assert sum(made["classes"].values()) == pytest.approx(1)
    (failed,) = ran.json["failed"]
    assert failed["image"] == "in/b.jpg"
    assert "b.jpg" in failed["error"]
    assert "b.jpg" in spoken.err
    assert "predictions/a-overlay.png" in spoken.out


def test_predict_takes_names_from_a_file_and_another_folder(
    run: Run, graph: Path, folder: Path
) -> None:
    labelled.save(folder / "a.png", labelled.picture(0, 70, 50))
    (folder / "mine.txt").write_text("wall\nsky\ntree\nroad\ndoor\t#102030\n")

    ran = run("predict", str(graph), "a.png", "--classes", "mine.txt", "--out", "o", "--json")

    assert ran.code == 0, ran.err
    (made,) = ran.json["predictions"]
    assert set(made["classes"]) <= {"wall", "sky", "tree", "road", "door"}
    assert Path(made["overlay"]).parent == Path("o")
    assert ran.json["failed"] == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [(("--alpha", "2"), "alpha"), (("--fit", "crop"), "crop"), (("--stride", "8"), "stride")],
)
def test_predict_refuses_what_cannot_be_meant(
    run: Run, graph: Path, folder: Path, options: tuple[str, ...], problem: str
) -> None:
    labelled.save(folder / "a.png", labelled.picture(0, 70, 50))

    ran = run("predict", str(graph), "a.png", *options, "--json")

    assert ran.code == 2
    assert problem in ran.json["error"]
    assert not (folder / "predictions").exists()


def test_predict_into_a_file_is_refused(run: Run, graph: Path, folder: Path) -> None:
    labelled.save(folder / "a.png", labelled.picture(0, 70, 50))
    (folder / "taken").write_text("")

    ran = run("predict", str(graph), "a.png", "--out", "taken", "--json")

    assert ran.code == 1
    assert "--out" in ran.json["hint"]


def test_predict_takes_the_names_of_the_sidecar(run: Run, graph: Path, folder: Path) -> None:
    names = ["wall", "sky", "tree", "road", "door"]
    sidecar = graph.with_suffix(".json")
    held = json.loads(sidecar.read_text())
    held["network"]["class_names"] = names
    sidecar.write_text(json.dumps(held))
    labelled.save(folder / "a.png", labelled.picture(0, 70, 50))

    ran = run("predict", str(graph), "a.png", "--json")

    assert set(ran.json["predictions"][0]["classes"]) <= set(names)


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "{graph}", "image.png"),
        ("evaluate", "{graph}", "--data", "data"),
        ("bench", "{graph}", "--rounds", "1", "--runs", "1", "--warmup", "1"),
    ],
)
def test_what_was_refused_is_not_used_without_a_word(
    run: Run, graph: Path, folder: Path, command: tuple[str, ...]
) -> None:
    scenes(folder)
    Image.new("RGB", (96, 64)).save("image.png")
    missed = Parity(
        "eager", 8, 1.0, 1.0, 0.5, 0.5, passed=False, gates={}, note="cosine 0.5 is below"
    )
    record(open_artefact(graph), parity=missed)
    ran = run(*(part.format(graph=graph) for part in command))
    assert "was refused" in ran.err
    assert "cosine 0.5 is below" in ran.err
