"""The folder that ``embed --as python`` writes gives the outputs of the package.

Its commands are run in an environment of their own by
tests/inference/session/test_clean_environment.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from support import serving, small_artefacts
from support.embedded_app import import_app
from support.fake_cuda import Error, FakeRuntime
from support.fake_tensorrt import fake_tensorrt

import hrvit_deploy
from hrvit_deploy import standalone
from hrvit_deploy.artefact import Artefact, Graph, TensorInfo, record, sha256_of
from hrvit_deploy.embed.python.folder import embed_python
from hrvit_deploy.errors import ArtefactError, UsageError
from hrvit_deploy.inference.overlay import index_image
from hrvit_deploy.options import InputFormat, OutputFormat, Precision

STANDALONE = Path(standalone.__file__).parent


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
    input_info = TensorInfo("photo", shape, "uint8", "NHWC")
    out = ("batch", serving.CLASSES, serving.SIDE, serving.SIDE)
    return changed(
        artefact,
        model,
        out,
        OutputFormat.LOGITS,
        preparation=preparation,
        inputs=(input_info,),
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
    output_info = TensorInfo("logits", shape, dtype, "NCHW")
    return record(
        artefact,
        sha256=sha256_of(artefact.path),
        output_format=output_format,
        outputs=(output_info,),
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
def test_its_outputs_are_the_packages(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = KINDS[kind](tmp_path)
    folder = embed_python(artefact, tmp_path / "app")
    session = import_app(folder, monkeypatch).Session()
    # Several strips, as large images have; the package has one.
    postprocess = import_app(folder, monkeypatch, "standalone.postprocess")
    monkeypatch.setattr(postprocess, "STRIP_SCORES", 1000)
    with hrvit_deploy.load(artefact.path, threads=1) as ours:
        for pixels in (*serving.pictures(4), np.full((1, 1, 3), 200, np.uint8)):
            output, expected = session(pixels), ours(pixels)
            assert output.dtype == expected.dtype
            np.testing.assert_array_equal(output, expected)
        if kind == "class-map":
            assert (output == -1).any() or (session(serving.pictures(1)[0]) == -1).any()
    assert session.segments is (kind != "classify")
    session.close()


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "I;16", "CMYK", "F"])
def test_pictures_are_decoded_as_the_package_does(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = embed_python(serving.segmenter(tmp_path), tmp_path / "app")
    load_image = import_app(folder, monkeypatch).load_image
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


def test_arrays_that_are_no_image_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = embed_python(serving.segmenter(tmp_path), tmp_path / "app")
    session = import_app(folder, monkeypatch).Session()
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="give H x W x 3 uint8 RGB, not"):
            session(wrong)
    with pytest.raises(ValueError, match=r"there is no image gone\.png"):
        session("gone.png")


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
        *(f"hrvit_app/standalone/{path.name}" for path in STANDALONE.glob("*.py")),
        "model.json",
        "model.onnx",
        "requirements.txt",
    }
    pins = (folder / "requirements.txt").read_text("utf-8").splitlines()
    assert f"numpy=={np.__version__}" in pins
    assert [line.partition("==")[0] for line in pins] == ["numpy", "onnxruntime", "pillow"]
    for path in (folder / "hrvit_app").rglob("*.py"):
        assert "hrvit_deploy" not in path.read_text("utf-8"), path
    for path in STANDALONE.glob("*.py"):
        copied = folder / "hrvit_app" / "standalone" / path.name
        assert copied.read_bytes() == path.read_bytes()
    readme = (folder / "README.md").read_text("utf-8")
    assert "onnxruntime, on the CPU: images in, label maps out" in readme
    with pytest.raises(ArtefactError, match="is there already"):
        embed_python(artefact, folder)


def test_graphs_that_onnxruntime_cannot_run_get_openvino(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = serving.segmenter(tmp_path)
    newer = record(made, graph=Graph(24, {}))
    narrow = record(made, precision=Precision.BF16)
    for number, artefact in enumerate((newer, narrow)):
        folder = embed_python(artefact, tmp_path / f"app{number}")
        assert "import openvino" in (folder / "hrvit_app" / "running.py").read_text("utf-8")
        assert "openvino==" in (folder / "requirements.txt").read_text("utf-8")
    record(made, precision=made.manifest.precision)
    running = import_app(folder, monkeypatch, "running")
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
    input_info = replace(made.manifest.inputs[0], dtype="bfloat16")
    with pytest.raises(UsageError, match="image is bfloat16") as caught:
        embed_python(record(made, inputs=(input_info,)), tmp_path / "app")
    assert "--half-io" in caught.value.hint
    assert not (tmp_path / "app").exists()


def test_a_plan_runs_in_its_own_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt())
    folder = embed_python(serving.plan(tmp_path), tmp_path / "app")
    running, cuda = import_app(folder, monkeypatch, "running"), FakeRuntime()
    monkeypatch.setattr(running, "cudart", cuda)
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
    command = import_app(folder, monkeypatch, "__main__")
    monkeypatch.chdir(tmp_path)
    pixels = serving.pictures(2)[1]
    for name in ("a.png", "b/a.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(name)
    Path("broken.png").write_bytes(b"no picture")
    Image.fromarray(np.ones((9, 9), np.float32)).save("wide.tif")
    unusable = ("broken.png", "gone.png", "wide.tif")
    monkeypatch.setattr(sys, "argv", ["app", "a.png", *unusable, "b/a.png"])
    assert command.main() == 1
    printed = capsys.readouterr()
    assert "broken.png cannot be used: broken.png is not an image" in printed.err
    assert "gone.png cannot be used: there is no image gone.png; check the path" in printed.err
    assert "wide.tif cannot be used: wide.tif holds float32 samples" in printed.err
    assert "convert it to 8 or 16 bits per channel" in printed.err
    assert "predictions/a-2-overlay.png" in printed.out
    with hrvit_deploy.load(artefact.path) as session:
        labels, classes = session(pixels), session.classes
    for name in ("a", "a-2"):
        shown = Image.open(f"predictions/{name}-labels.png")
        np.testing.assert_array_equal(np.asarray(shown), labels)
        assert shown.getpalette() == index_image(labels, classes).getpalette()
        overlay = np.asarray(Image.open(f"predictions/{name}-overlay.png"))
        middle = (pixels[0, 0].astype(int) + np.array(classes.colours[labels[0, 0]])) / 2
        assert np.abs(overlay[0, 0] - middle).max() <= 1
    assert f"{(labels == labels[0, 0]).mean():7.2%}" in printed.out


def test_the_command_names_the_likeliest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = embed_python(small_artefacts.artefact(tmp_path), tmp_path / "app")
    command = import_app(folder, monkeypatch, "__main__")
    blue = np.zeros((40, 50, 3), np.uint8)
    blue[..., 2] = 255
    Image.fromarray(blue).save(tmp_path / "blue.png")
    monkeypatch.setattr(sys, "argv", ["app", str(tmp_path / "blue.png")])
    assert command.main() == 0
    lines = capsys.readouterr().out.splitlines()
    # The network returns the mean of each channel.
    assert [line.split()[-1] for line in lines[1:]] == ["2", "1", "0"]
