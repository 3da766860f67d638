"""``calibrate`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.command_line import Run
from support.measured_graphs import SIZE, activations, artefact, pixels, save_images

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.options import CalibrationOptions, Method
from hrvit_deploy.quantization.calibration.ranges import check_fits, read_ranges

COUNT = 3


@pytest.fixture
def graph(folder: Path) -> Path:
    """A small graph in ``export/``: these tests are about the command."""
    Path("export").mkdir()
    return artefact(Path("export")).path


@pytest.fixture
def images(folder: Path) -> Path:
    """The default folder, with a few images in it."""
    Path("calib").mkdir()
    return save_images(Path("calib/images"), pixels(COUNT))


def test_ranges_of_the_newest_graph(run: Run, graph: Path, images: Path) -> None:
    ran = run("calibrate", "--json")

    assert ran.code == 0, ran.err
    assert f"taking the newest fp32 graph, {graph}" in ran.err
    assert f"{COUNT} images are few" in ran.err
    path = Path(ran.json["artefact"])
    assert path == Path("calib") / f"{graph.stem}.json"
    ranges = read_ranges(path)
    check_fits(ranges, open_artefact(graph))
    assert set(ranges.amax) == set(activations(pixels(1)))
    assert ran.json["tensors"] == len(ranges.amax)
    assert ran.json["images"] == ranges.images == COUNT
    assert ran.json["images_sha256"] == ranges.images_sha256
    assert ran.json["method"] == CalibrationOptions().method
    assert ran.json["random_data"] is False
    assert sorted(p.name for p in path.parent.iterdir()) == ["images", path.name]


def test_people_read_the_same(run: Run, graph: Path, images: Path) -> None:
    ran = run("calibrate", str(graph), "--method", "percentile", "--percentile", "99.9")

    assert ran.code == 0, ran.err
    assert str(Path("calib") / f"{graph.stem}.json") in ran.out
    assert "percentile 99.9" in ran.out
    assert f"{COUNT}, SHA-256" in ran.out


@pytest.mark.parametrize("method", Method)
def test_every_method_is_there(run: Run, graph: Path, images: Path, method: Method) -> None:
    ran = run("calibrate", str(graph), "--method", method, "--samples", "1", "--json")

    assert ran.code == 0, ran.err
    assert read_ranges(Path(ran.json["artefact"])).method is method


def test_the_file_serves_again_until_something_changes(
    run: Run, graph: Path, images: Path
) -> None:
    path = Path(run("calibrate", "--method", "minmax", "--json").json["artefact"])
    written, contents = path.stat().st_mtime_ns, path.read_bytes()

    again = run("calibrate", "--method", "minmax")

    assert again.code == 0
    assert f"taking {path}: the same model, images and method" in again.err
    assert path.stat().st_mtime_ns == written

    percentile = run("calibrate", "--method", "percentile")
    assert "the method was minmax, not percentile" in percentile.err
    assert path.read_bytes() != contents

    (images / "other.png").write_bytes(next(images.iterdir()).read_bytes())
    more = run("calibrate", "--method", "percentile", "--percentile", "99")
    assert "the images changed, the percentile was 99.999, not 99.0" in more.err

    (images / "other.png").unlink()
    run("calibrate", "--method", "minmax")
    assert path.read_bytes() == contents


def test_another_graph_of_that_name_is_measured_anew(
    run: Run, graph: Path, images: Path
) -> None:
    path = Path(run("calibrate", "--method", "minmax", "--json").json["artefact"])
    path.write_text(path.read_text().replace(open_artefact(graph).manifest.sha256, "00" * 32))

    ran = run("calibrate", "--method", "minmax")

    assert ran.code == 0
    assert "the model changed" in ran.err
    check_fits(read_ranges(path), open_artefact(graph))


def test_no_images_is_an_error_that_says_where_to_put_them(run: Run, graph: Path) -> None:
    ran = run("calibrate", "--json")

    assert ran.code == 1
    assert "calib/images" in ran.json["error"]
    assert "calib/images/" in ran.json["hint"]
    assert not Path("calib").exists()


def test_noise_must_be_asked_for_and_is_marked(run: Run, graph: Path) -> None:
    ran = run("calibrate", "--random-data", "--samples", "2", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["random_data"] is True
    assert "warning: calibrating on noise" in ran.err
    assert json.loads(Path(ran.json["artefact"]).read_text())["random_data"] is True


def test_lists_and_arrays(run: Run, graph: Path, images: Path) -> None:
    names = sorted(path.name for path in images.iterdir())
    Path("calib/list.txt").write_text("".join(f"images/{name}\n" for name in names))
    shape = (4, SIZE.height + 9, SIZE.width - 3, 3)
    np.savez("some.npz", np.random.default_rng(0).integers(0, 256, shape, np.uint8))

    minmax = ("calibrate", "--method", "minmax", "--images")

    listed = run(*minmax, "calib/list.txt", "--json")
    folder = run(*minmax, str(images))
    arrays = run(*minmax, "some.npz", "--json")

    assert listed.json["images"] == COUNT
    assert "the same model, images and method" in folder.err
    assert arrays.json["images"] == 4


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (("--percentile", "99"), 2, "--percentile"),
        (("--method", "percentile", "--percentile", "101"), 2, "101"),
        (("--method", "percentile", "--percentile", "nan"), 2, "nan"),
        (("--method", "guess"), 2, "guess"),
        (("--samples", "0"), 2, "samples"),
        (("--random-data", "--images", "calib/images"), 2, "--random-data"),
        (("--images", "nowhere"), 1, "nowhere"),
        (("--out", "export"), 1, "does not hold ranges"),
        (("gone.onnx",), 1, "gone.onnx"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    run: Run, graph: Path, images: Path, options: tuple[str, ...], code: int, problem: str
) -> None:
    sidecar = graph.with_suffix(".json").read_bytes()

    ran = run("calibrate", *options, "--json")

    assert ran.code == code
    assert problem in ran.json["error"]
    assert ran.json["hint"]
    assert graph.with_suffix(".json").read_bytes() == sidecar
    assert not list(Path("calib").glob("*.json"))


def test_a_broken_image_leaves_nothing_behind(run: Run, graph: Path, images: Path) -> None:
    (images / "zzz.png").write_bytes(b"not an image")

    ran = run("calibrate", "--json")

    assert ran.code == 1
    assert "zzz.png" in ran.json["error"]
    assert [path.name for path in Path("calib").iterdir()] == ["images"]


def test_a_narrow_graph_is_refused_and_its_parent_named(
    run: Run, graph: Path, images: Path
) -> None:
    sidecar = graph.with_suffix(".json")
    fields = json.loads(sidecar.read_text())
    parent = {"kind": "onnx", "path": "wide.onnx", "sha256": "aa"}
    sidecar.write_text(json.dumps(fields | {"precision": "fp16", "sources": [parent]}))

    named = run("calibrate", str(graph), "--json")
    newest = run("calibrate", "--json")

    assert named.code == newest.code == 1
    assert "fp16" in named.json["error"]
    assert "calibrate the fp32 graph wide.onnx" in named.json["hint"]
    assert "hrvit-deploy export" in newest.json["hint"]
