"""The folder that ``embed --as python`` writes answers as the package does.

Its commands are run in an environment of their own by
tests/runtime/test_clean_environment.py.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import serving
from onnx import TensorProto, helper
from PIL import Image
from support import small_artefacts
from support.embedded_app import command, session as app
from support.fake_cuda import Error, FakeRuntime
from support.fake_tensorrt import fake_tensorrt

import hrvit_deploy
from hrvit_deploy.artefact import Artefact, Graph, TensorInfo, record, sha256_of
from hrvit_deploy.classes import class_set
from hrvit_deploy.embed.python.folder import embed_python
from hrvit_deploy.errors import ArtefactError, UsageError
from hrvit_deploy.inference.overlay import index_image
from hrvit_deploy.options import InputFormat, OutputFormat, Precision

APP = "hrvit_deploy.embed.python.app"


def quarter(artefact: Artefact) -> Artefact:
    """Scores a quarter as high and wide."""
    model = onnx.load(artefact.path)
    (product,) = model.graph.node
    product.attribute.append(helper.make_attribute("strides", [4, 4]))
    shape = ("batch", serving.CLASSES, serving.SIDE // 4, serving.SIDE // 4)
    return changed(artefact, model, shape, OutputFormat.LOGITS_QUARTER)


def class_map(artefact: Artefact) -> Artefact:
    """Winners, with one class that the sidecar does not know."""
    model = onnx.load(artefact.path)
    (product,) = model.graph.node
    product.output[0] = "scores"
    model.graph.node.append(
        helper.make_node("ArgMax", ["scores"], ["winners"], axis=1, keepdims=0)
    )
    model.graph.node.append(
        helper.make_node("Cast", ["winners"], ["logits"], to=TensorProto.UINT8)
    )
    shape = ("batch", serving.SIDE, serving.SIDE)
    network = replace(artefact.manifest.network, num_classes=serving.CLASSES - 1)
    return changed(artefact, model, shape, OutputFormat.CLASSMAP, "uint8", network=network)


def decoded(artefact: Artefact) -> Artefact:
    """Images as they are decoded, laid out with channels last."""
    model = onnx.load(artefact.path)
    model.graph.node.insert(
        0, helper.make_node("Transpose", ["photo"], ["floats"], perm=[0, 3, 1, 2])
    )
    model.graph.node.insert(
        1, helper.make_node("Cast", ["floats"], ["image"], to=TensorProto.FLOAT)
    )
    shape = ("batch", serving.SIDE, serving.SIDE, 3)
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("photo", TensorProto.UINT8, shape)
    )
    preparation = replace(artefact.manifest.preparation, format=InputFormat.UINT8_NHWC)
    taken = TensorInfo("photo", shape, "uint8", "NHWC")
    out = ("batch", serving.CLASSES, serving.SIDE, serving.SIDE)
    return changed(
        artefact, model, out, OutputFormat.LOGITS, preparation=preparation, inputs=(taken,)
    )


def changed(
    artefact: Artefact,
    model: onnx.ModelProto,
    shape: tuple[int | str, ...],
    output_format: OutputFormat,
    dtype: str = "float32",
    **others: Any,
) -> Artefact:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", kind, shape))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, artefact.path)
    returned = TensorInfo("logits", shape, dtype, "NCHW")
    return record(
        artefact,
        sha256=sha256_of(artefact.path),
        output_format=output_format,
        outputs=(returned,),
        **others,
    )


KINDS: dict[str, Callable[[Path], Artefact]] = {
    "logits": serving.segmenter,
    "fixed-batch": lambda folder: serving.segmenter(folder, batch=2),
    "quarter": lambda folder: quarter(serving.segmenter(folder)),
    "class-map": lambda folder: class_map(serving.segmenter(folder)),
    "uint8": lambda folder: decoded(serving.segmenter(folder)),
    "classify": small_artefacts.artefact,
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_the_package_does(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several strips, as large images have.
    monkeypatch.setattr(f"{APP}.session.STRIP_SCORES", 1000)
    artefact = KINDS[kind](tmp_path)
    folder = embed_python(artefact, tmp_path / "app")
    session = app.Session(folder)
    with hrvit_deploy.load(artefact.path, threads=1) as ours:
        for pixels in (*serving.pictures(4), np.full((1, 1, 3), 200, np.uint8)):
            given, expected = session(pixels), ours(pixels)
            assert given.dtype == expected.dtype
            np.testing.assert_array_equal(given, expected)
        if kind == "class-map":
            assert (given == -1).any() or (session(serving.pictures(1)[0]) == -1).any()
    assert session.segments is (kind != "classify")
    session.close()


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "I;16", "CMYK", "F"])
def test_pictures_are_decoded_as_the_package_does(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(serving.pictures(1)[0])
    if mode == "I;16":
        wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
        image = Image.fromarray(wide)
    else:
        image = image.convert("L" if mode in ("LA", "F") else "RGB").convert(mode)
    path = tmp_path / ("a.png" if mode not in ("CMYK", "F") else "a.tif")
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    image.save(path, exif=exif)
    if mode == "F":
        with pytest.raises(ValueError, match="whose white nobody knows"):
            load_image(path)
        return
    np.testing.assert_array_equal(load_image(path), hrvit_deploy.load_image(path))


def test_arrays_that_are_no_image_are_refused(tmp_path: Path) -> None:
    folder = embed_python(serving.segmenter(tmp_path), tmp_path / "app")
    session = app.Session(folder)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="give H x W x 3 uint8 RGB, not"):
            session(wrong)


def test_the_folder_holds_all_there_is(tmp_path: Path) -> None:
    artefact = serving.segmenter(tmp_path)
    folder = embed_python(artefact, tmp_path / "app")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert files == {
        "README.md",
        "app.json",
        "hrvit_app/__init__.py",
        "hrvit_app/__main__.py",
        "hrvit_app/running.py",
        "hrvit_app/session.py",
        "model.json",
        "model.onnx",
        "requirements.txt",
    }
    pins = (folder / "requirements.txt").read_text("utf-8").splitlines()
    assert f"numpy=={np.__version__}" in pins
    assert [line.partition("==")[0] for line in pins] == ["numpy", "onnxruntime", "pillow"]
    assert "hrvit_deploy" not in (folder / "hrvit_app" / "session.py").read_text("utf-8")
    readme = (folder / "README.md").read_text("utf-8")
    assert "onnxruntime, on the CPU: images in, label maps out" in readme
    with pytest.raises(ArtefactError, match="is there already"):
        embed_python(artefact, folder)


def test_graphs_that_onnxruntime_cannot_run_get_openvino(tmp_path: Path) -> None:
    made = serving.segmenter(tmp_path)
    newer = record(made, graph=Graph(24, {}))
    narrow = record(made, precision=Precision.BF16)
    for number, artefact in enumerate((newer, narrow)):
        folder = embed_python(artefact, tmp_path / f"app{number}")
        assert "import openvino" in (folder / "hrvit_app" / "running.py").read_text("utf-8")
        assert "openvino==" in (folder / "requirements.txt").read_text("utf-8")
    record(made, precision=made.manifest.precision)
    running = importlib.import_module(f"{APP}.running_openvino")
    runtime = running.Runtime(made.path, {})
    batch = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    with hrvit_deploy.load(made.path) as session:
        expected = session.run({"image": batch})["logits"]
    first = runtime.run(batch)
    runtime.run(batch * 2)
    np.testing.assert_allclose(first, expected, atol=1e-4)
    runtime.close()


def test_what_cannot_be_embedded_says_why(tmp_path: Path) -> None:
    made = serving.segmenter(tmp_path)
    taken = replace(made.manifest.inputs[0], dtype="bfloat16")
    with pytest.raises(UsageError, match="image is bfloat16") as caught:
        embed_python(record(made, inputs=(taken,)), tmp_path / "app")
    assert "--half-io" in caught.value.hint
    assert not (tmp_path / "app").exists()


@pytest.fixture
def tensorrt_app(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, FakeRuntime]:
    """The app's own way to run plans, over stand-ins."""
    cuda, trt = FakeRuntime(), fake_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    running = importlib.import_module(f"{APP}.running_tensorrt")
    monkeypatch.setattr(running, "cudart", cuda)
    return running, cuda


def test_a_plan_runs_in_its_own_version(
    tmp_path: Path, tensorrt_app: tuple[ModuleType, FakeRuntime]
) -> None:
    running, cuda = tensorrt_app
    folder = embed_python(serving.plan(tmp_path), tmp_path / "app")
    assert "import cudart" not in (folder / "hrvit_app" / "session.py").read_text("utf-8")
    needed = (folder / "requirements.txt").read_text("utf-8")
    assert "tensorrt==10.16.1.11" in needed
    assert "cuda-python==" in needed
    assert "compute capability 8.9" in (folder / "README.md").read_text("utf-8")
    sidecar = json.loads((folder / "model.json").read_text("utf-8"))
    runtime = running.Runtime(folder / "model.plan", sidecar)
    for batch in (1, 4, 2):
        array = np.random.default_rng(0).normal(size=(batch, 3, 4, 4)).astype(np.float32)
        np.testing.assert_array_equal(runtime.run(array), array * 2)
    cuda.failing["cudaMemcpyAsync"] = Error.cudaErrorIllegalAddress
    with pytest.raises(RuntimeError, match="CUDA: cudaErrorIllegalAddress"):
        runtime.run(array)
    runtime.close()
    assert not cuda.live
    sidecar["engine"]["version"] = "11.4.0.106"
    with pytest.raises(RuntimeError, match=r"is for tensorrt 11.4.0.106, not 10.16.1.11"):
        running.Runtime(folder / "model.plan", sidecar)


def test_the_command_shows_what_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artefact = serving.segmenter(tmp_path)
    folder = embed_python(artefact, tmp_path / "app")
    monkeypatch.setattr(f"{APP}.__main__.Session", lambda: app.Session(folder))
    monkeypatch.chdir(tmp_path)
    pixels = serving.pictures(2)[1]
    for name in ("a.png", "b/a.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(name)
    Path("broken.png").write_bytes(b"no picture")
    monkeypatch.setattr(sys, "argv", ["app", "a.png", "broken.png", "gone.png", "b/a.png"])
    assert command.main() == 1
    told = capsys.readouterr()
    assert "broken.png cannot be used" in told.err
    assert "gone.png cannot be used" in told.err
    assert "predictions/a-2-overlay.png" in told.out
    with hrvit_deploy.load(artefact.path) as session:
        labels, classes = session(pixels), session.classes
    for name in ("a", "a-2"):
        shown = Image.open(f"predictions/{name}-labels.png")
        np.testing.assert_array_equal(np.asarray(shown), labels)
        assert shown.getpalette() == index_image(labels, classes).getpalette()
        overlay = np.asarray(Image.open(f"predictions/{name}-overlay.png"))
        middle = (pixels[0, 0].astype(int) + np.array(classes.colours[labels[0, 0]])) / 2
        assert np.abs(overlay[0, 0] - middle).max() <= 1
    assert f"{(labels == labels[0, 0]).mean():7.2%}" in told.out


def test_the_command_names_the_likeliest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = embed_python(small_artefacts.artefact(tmp_path), tmp_path / "app")
    monkeypatch.setattr(f"{APP}.__main__.Session", lambda: app.Session(folder))
    blue = np.zeros((40, 50, 3), np.uint8)
    blue[..., 2] = 255
    Image.fromarray(blue).save(tmp_path / "blue.png")
    monkeypatch.setattr(sys, "argv", ["app", str(tmp_path / "blue.png")])
    assert command.main() == 0
    lines = capsys.readouterr().out.splitlines()
    # The network answers with the mean of each channel.
    assert [line.split()[-1] for line in lines[1:]] == ["2", "1", "0"]


def test_more_classes_than_a_palette_holds_are_grey() -> None:
    classes = class_set(map(str, range(300)))
    labels = np.array([[299, -1]], np.int32)
    shown = command.index_image(labels, [list(colour) for colour in classes.colours])
    assert np.asarray(shown).tolist() == [[299, 65535]]
