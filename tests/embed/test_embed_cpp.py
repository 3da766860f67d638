"""A C++ folder builds and answers by the commands it comes with, wherever it lies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import small_artefacts
from support.cpp_build import missing

from hrvit_deploy.artefact import Artefact, Engine, Kind, open_artefact, record, sha256_of
from hrvit_deploy.classes import choose_classes
from hrvit_deploy.embed.cpp import folder as cpp
from hrvit_deploy.embed.cpp.folder import embed_cpp
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.images import load_image, photographs
from hrvit_deploy.inference.fit import FitOptions
from hrvit_deploy.inference.open import open_prepared
from hrvit_deploy.inference.overlay import draw_overlay
from hrvit_deploy.inference.postprocess import label_maps
from hrvit_deploy.options import ImageSize
from hrvit_deploy.runners.spec import Provider, RunnerSpec, RunOptions

CHINA = photographs()[0]


def plan(folder: Path, **options: bool) -> Artefact:
    engine = Engine("tensorrt", "10.16.1.11", {}, {}, 0, 1.0, ("8.9",))
    made = small_artefacts.artefact(
        folder, kind=Kind.PLAN, engine=engine, graph=None, options=options
    )
    path = made.path.with_suffix(".plan")
    path.write_bytes(b"plan")
    return record(replace(made, path=path), sha256=sha256_of(path))


def test_folder_holds_all_that_it_takes(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    folder = embed_cpp(made, tmp_path / "service")
    assert {path.name for path in folder.iterdir()} == {*cpp.SHIPPED, "model", "README.md"}
    assert open_artefact(folder / "model" / "small.onnx").manifest == made.manifest
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert (folder / "palettes" / "ade20k.txt").read_text().startswith("wall")
    text = (folder / "README.md").read_text()
    assert "hrvit_infer model/small.onnx" in text
    assert "session.classify(" in text


def test_plan_says_what_it_needs(tmp_path: Path) -> None:
    text = (embed_cpp(plan(tmp_path), tmp_path / "service") / "README.md").read_text()
    for said in ("TensorRT 10.16.1.11", "compute capability\n8.9", "model/small.plan"):
        assert said in text
    assert "$" not in text.replace("$PWD", "")


def test_plan_without_weights_is_refused(tmp_path: Path) -> None:
    made = plan(tmp_path, strip_weights=True)
    with pytest.raises(ArtefactError, match="without its weights"):
        embed_cpp(made, tmp_path / "service")


def test_package_without_sources_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpp, "SOURCES", tmp_path / "nowhere")
    made = small_artefacts.artefact(tmp_path)
    with pytest.raises(ArtefactError, match="C\\+\\+ sources of this package are not whole"):
        embed_cpp(made, tmp_path / "service")
    assert not (tmp_path / "service").exists()


def test_wheel_takes_every_source() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["hrvit_deploy"]
    package = root / "hrvit_deploy"
    taken = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    places = [cpp.SOURCES / name for name in cpp.SHIPPED]
    files = {place for place in places if place.is_file()}
    files |= {path for place in places for path in place.rglob("*") if path.is_file()}
    assert len(files) > 50
    assert files <= taken


def test_version_is_the_packages() -> None:
    from hrvit_deploy.version import VERSION

    text = (cpp.SOURCES / "CMakeLists.txt").read_text()
    assert f"project(hrvit VERSION {VERSION} " in text


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def in_clean_environment(folder: Path, home: Path, commands: str) -> str:
    """Run them with nothing of this process's environment but what pip needs here."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=folder,
        env={**kept, "HOME": str(home), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_folder_builds_runs_and_installs_by_its_own_commands(
    exported: Path, tmp_path: Path
) -> None:
    if reason := missing():
        pytest.skip(reason)
    (path,) = (exported / "export").glob("*.onnx")
    made = open_artefact(path)
    folder = embed_cpp(made, tmp_path / "service")
    home = tmp_path / "home"
    home.mkdir()
    # PNG, since decoders of JPEG differ by a grey level here and there.
    draw(CHINA.pixels, folder / "photo.jpg")
    text = (folder / "README.md").read_text()
    told = in_clean_environment(folder, home, "".join(blocks(text, "sh")))
    assert "in openvino-cpu" in told

    labels = python_labels(made)
    classes = choose_classes(made.manifest.network)
    height, width = labels.shape
    expected = draw_overlay(CHINA.pixels, labels, classes, 0.5).crop((0, 0, width, height))
    overlay = load_image(folder / "predictions" / "photo-overlay.png")
    assert (overlay == np.asarray(expected)).all(axis=2).mean() >= 0.999

    # The rest of the README: a program that finds what was installed.
    mine = folder / "mine"
    mine.mkdir()
    (listing,), (source,) = blocks(text, "cmake"), blocks(text, "cpp")
    (mine / "CMakeLists.txt").write_text(listing)
    (mine / "main.cpp").write_text(source)
    shutil.rmtree(folder / "build")
    told = in_clean_environment(
        folder,
        home,
        'cmake -S mine -B mine/build -DCMAKE_PREFIX_PATH="$PWD/installed"\n'
        "cmake --build mine/build\n./mine/build/mine\n",
    )
    assert told.splitlines()[-1].startswith("class ")


def draw(pixels: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, "png")


def python_labels(made: Artefact) -> np.ndarray:
    spec = RunnerSpec(made, RunOptions(Provider.OPENVINO))
    size = ImageSize(*CHINA.pixels.shape[:2])
    with open_prepared(spec) as prepared:
        count = made.manifest.network.num_classes
        (labels,) = label_maps(prepared, [CHINA], [size], FitOptions(), count)
    return labels
