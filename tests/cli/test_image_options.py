"""Images as people give them: which are taken, which are told of, and how large they may be."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support import labelled, small_artefacts
from support.command_line import Run

VARIABLE = "HRVIT_DEPLOY_MAX_PIXELS"


@pytest.fixture
def small(folder: Path) -> str:
    return str(small_artefacts.artefact(folder).path)


def test_what_is_passed_over_is_told_once(run: Run, folder: Path, small: str) -> None:
    labelled.save(folder / "pics/a.png", labelled.picture(0, 40, 50))
    for name in ("pics/.ipynb_checkpoints/a-checkpoint.png", "pics/__MACOSX/a.png"):
        labelled.save(folder / name, labelled.picture(0, 40, 50))
    (folder / "pics/b.heic").touch()
    ran = run("predict", small, "pics", "--json")
    assert ran.code == 0, ran.err
    assert [made["image"] for made in ran.json["predictions"]] == ["pics/a.png"]
    assert ran.err.count("1 file was passed over: pics/b.heic") == 1


def test_a_broken_image_costs_the_others_nothing(run: Run, folder: Path, small: str) -> None:
    labelled.save(folder / "pics/a.png", labelled.picture(0, 40, 50))
    (folder / "pics/b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (folder / "pics/c.jpg").write_bytes(b"\xff\xd8\xff\xe1")
    ran = run("predict", small, "pics", "--json")
    assert ran.code == 1
    assert [made["image"] for made in ran.json["predictions"]] == ["pics/a.png"]
    assert [failed["image"] for failed in ran.json["failed"]] == ["pics/b.png", "pics/c.jpg"]


def test_the_limit_on_pixels_is_an_option_a_variable_and_a_default(
    run: Run, folder: Path, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 32)).save(folder / "a.png")

    def predict(*options: str) -> tuple[int, str]:
        # Another command's process begins with what the shell has.
        monkeypatch.setenv(VARIABLE, variable)
        ran = run("predict", small, "a.png", *options)
        return ran.code, ran.err

    variable = ""
    assert predict()[0] == 0
    code, said = predict("--max-pixels", "2000")
    assert code == 1
    assert "a.png has 0.002048 million pixels" in said
    assert "--max-pixels or HRVIT_DEPLOY_MAX_PIXELS=2048" in said
    assert predict("--max-pixels", "2048")[0] == 0
    variable = "2000"
    assert predict()[0] == 1
    assert predict("--max-pixels", "0")[0] == 0
    variable = ""
    (folder / "hrvit-deploy.toml").write_text("[predict]\nmax-pixels = 2000\n")
    assert predict()[0] == 1
    assert predict("--max-pixels", "2048")[0] == 0


def test_a_folder_of_label_maps_is_no_folder_of_images(
    run: Run, folder: Path, small: str
) -> None:
    labelled.ade20k(folder / "data")
    ran = run("predict", small, "data/annotations/validation")
    assert ran.code == 1
    assert "holds label maps, no photographs; give " in ran.err
    assert ran.err.count("\n") == 1
    ran = run("predict", small, "data", "--json")
    assert len(ran.json["predictions"]) == 3
    assert "data/annotations holds label maps and was left out" in ran.err


def test_labels_are_turned_for_gates_and_comparisons_too(
    run: Run, graph: Path, folder: Path
) -> None:
    exif = Image.Exif()
    exif[0x112] = 3
    data = labelled.ade20k(folder / "data")
    for path in (data / "images/validation").iterdir():
        Image.open(path).save(path, exif=exif)
    command = ("compare", str(graph), "--data", "data", "--rounds", "1", "--runs", "1")
    ran = run(*command, "--labels", "stored", "--json")
    # Of the graph, and of eager PyTorch beside it.
    assert ran.err.count("drawn on the stored pixels") == 2
    refused = run("compare", str(graph), "--labels", "stored")
    assert refused.code == 2
    assert "no labels to turn without labelled images" in refused.err


def test_images_that_tell_nothing_take_no_verdict_back(
    run: Run, graph: Path, folder: Path
) -> None:
    Image.new("RGB", (64, 48)).save(folder / "black.png")
    before = graph.with_suffix(".json").read_bytes()
    ran = run("verify", str(graph), "--images", "black.png")
    assert ran.code == 1
    assert "keeps the verdict of an earlier comparison" in ran.err
    assert graph.with_suffix(".json").read_bytes() == before
    assert run("embed", str(graph), "--as", "python", "--out", "app").code == 0
