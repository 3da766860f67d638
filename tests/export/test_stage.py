"""The export stage writes what was asked for, whole, or nothing at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto
from support.graph_making import (
    SIZE,
    Sketch,
    eager,
    floats,
    photograph,
    run_graph,
    subject,
    types_of,
)
from support.networks import tiny

from hrvit_deploy import graphs
from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.deploy.form import deploy
from hrvit_deploy.errors import ArtefactError, ExportError, PrecisionError
from hrvit_deploy.export import stage
from hrvit_deploy.export.simplify import Simplified
from hrvit_deploy.images import prepare
from hrvit_deploy.options import ExportOptions, InputFormat, OutputFormat, Precision, Task
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.products import find_products

PLAIN = ExportOptions(SIZE, simplify=False)
HALF = {Precision.FP16: np.float16, Precision.BF16: ml_dtypes.bfloat16}


def export(
    folder: Path,
    options: ExportOptions = PLAIN,
    *,
    network: Any = None,
    task: Task = Task.SEGMENT,
    progress: SilentProgress | None = None,
) -> Artefact:
    return stage.export_onnx(
        subject(Sketch(task) if network is None else network, task, options),
        folder / "net.onnx",
        options,
        [photograph(options, options.batch or 2)],
        progress or SilentProgress(),
    )


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder by the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A tiny segmenter that takes any batch of uint8 images, simplified."""
    form = deploy(tiny(Task.SEGMENT), SIZE)
    options = ExportOptions(SIZE, batch=None, input_format=InputFormat.UINT8_NHWC)
    folder = tmp_path_factory.mktemp("dynamic")
    return export(folder, options, network=form.network)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_dynamic_graph_answers_as_eager_at_any_batch(
    dynamic: Artefact, tmp_path: Path, batch: int
) -> None:
    options = replace(PLAIN, input_format=InputFormat.UINT8_NHWC)
    image = photograph(options, batch, seed=batch)

    (answer,) = run_graph(dynamic.path, tmp_path, image=image).values()

    assert answer.shape == (batch, 5, *SIZE)
    np.testing.assert_allclose(
        answer, eager(tiny(Task.SEGMENT), options, image), rtol=0, atol=1e-4
    )
    assert dynamic.manifest.inputs[0].batch is None
    assert dynamic.manifest.outputs[0].batch is None
    assert dynamic.manifest.graph is not None
    assert dynamic.manifest.graph.simplified


def test_normalising_in_the_graph_equals_normalising_outside(
    dynamic: Artefact, tmp_path: Path
) -> None:
    preparation = dynamic.manifest.preparation
    pixels = photograph(replace(PLAIN, input_format=InputFormat.UINT8_NHWC))
    outside = prepare(pixels[0], replace(preparation, format=InputFormat.FLOAT_NCHW))

    (answer,) = run_graph(dynamic.path, tmp_path, image=pixels).values()

    expected = eager(tiny(Task.SEGMENT), PLAIN, outside)
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4)


def test_a_real_graph_survives_the_newest_opset_and_back(
    dynamic: Artefact, tmp_path: Path
) -> None:
    image = photograph(replace(PLAIN, input_format=InputFormat.UINT8_NHWC), 2)
    newest = graphs.set_opset(onnx.load(dynamic.path), graphs.NEWEST_OPSET)

    (answer,) = run_graph(graphs.runnable(newest), tmp_path, image=image).values()

    (expected,) = run_graph(dynamic.path, tmp_path, image=image).values()
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("opset", [17, 20, 22, 23, graphs.NEWEST_OPSET])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_the_opset_asked_for_is_the_opset_written(
    tmp_path: Path, opset: int, precision: Precision
) -> None:
    options = replace(PLAIN, opset=opset, precision=precision)

    artefact = export(tmp_path, options)

    model = onnx.load(artefact.path)
    assert graphs.opset_of(model) == opset
    assert artefact.manifest.graph is not None
    assert artefact.manifest.graph.opset == opset
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert all(product.weight for product in find_products(model))
    image = photograph(options)
    answer = run_graph(graphs.runnable(model), tmp_path, image=image)["logits"]
    within = 1e-5 if precision is Precision.FP32 else 1e-2
    np.testing.assert_allclose(answer, eager(Sketch(), options, image), rtol=0, atol=within)


def test_an_opset_onnx_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(tmp_path, replace(PLAIN, opset=graphs.NEWEST_OPSET + 1))

    assert str(graphs.NEWEST_OPSET + 1) in caught.value.message
    assert f"--opset {graphs.NEWEST_OPSET}" in caught.value.hint
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("taken", list(InputFormat))
@pytest.mark.parametrize(
    ("task", "returned"),
    [
        (Task.CLASSIFY, OutputFormat.LOGITS),
        (Task.CLASSIFY, OutputFormat.PROBABILITIES),
        (Task.SEGMENT, OutputFormat.LOGITS),
        (Task.SEGMENT, OutputFormat.LOGITS_QUARTER),
        (Task.SEGMENT, OutputFormat.CLASSMAP),
    ],
)
def test_every_signature_equals_eager_and_is_on_record(
    tmp_path: Path, task: Task, returned: OutputFormat, taken: InputFormat
) -> None:
    options = replace(PLAIN, input_format=taken, output_format=returned, batch=2)
    network = Sketch(task)
    artefact = export(tmp_path, options, network=network, task=task)
    image = photograph(options, 2)

    answers = run_graph(artefact.path, tmp_path, image=image)

    (info,) = artefact.manifest.outputs
    answer, expected = answers[info.name], eager(network, options, image)
    assert answer.shape == info.shape
    assert answer.dtype == np.dtype(info.dtype)
    if returned is OutputFormat.CLASSMAP:
        assert np.mean(answer == expected) > 0.999
    else:
        np.testing.assert_allclose(answer, expected, rtol=0, atol=2e-5)
    (read,) = artefact.manifest.inputs
    assert image.shape == read.shape
    assert image.dtype == np.dtype(read.dtype)
    assert open_artefact(artefact.path) == artefact


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("half", [False, True])
def test_inputs_and_outputs_are_float32_unless_asked(
    tmp_path: Path, precision: Precision, half: bool
) -> None:
    options = replace(PLAIN, precision=precision, half_io=half, opset=22)

    artefact = export(tmp_path, options)

    types = types_of(onnx.load(artefact.path))
    dtype = HALF[precision] if half else np.float32
    expected = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert (types["image"], types["logits"]) == (expected, expected)
    infos = (*artefact.manifest.inputs, *artefact.manifest.outputs)
    assert {info.dtype for info in infos} == {np.dtype(dtype).name}
    assert artefact.manifest.precision is precision


def test_uint8_stays_uint8_with_half_outputs(tmp_path: Path) -> None:
    options = replace(
        PLAIN, precision=Precision.FP16, half_io=True, input_format=InputFormat.UINT8_NHWC
    )

    artefact = export(tmp_path, options)

    image = photograph(options)
    answer = run_graph(artefact.path, tmp_path, image=image)["logits"]
    assert answer.dtype == np.float16
    np.testing.assert_allclose(answer, eager(Sketch(), options, image), rtol=0, atol=2e-2)
    assert artefact.manifest.inputs[0].dtype == "uint8"
    assert artefact.manifest.outputs[0].dtype == "float16"


def test_the_sidecar_tells_what_was_done(tmp_path: Path) -> None:
    manifest = export(tmp_path, replace(PLAIN, batch=None)).manifest

    assert manifest.graph is not None
    assert manifest.graph.rewrites == ("rounded-corners",)
    assert not manifest.graph.simplified
    assert manifest.graph.note == "switched off"
    assert manifest.graph.nodes["LayerNormalization"] == 1
    assert manifest.graph.float32_islands == {}
    assert manifest.options["opset"] == PLAIN.opset
    assert manifest.options["batch"] is None
    assert manifest.versions["onnx"] == onnx.__version__


def test_a_dropped_simplification_is_said_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crashes(source: Path, target: Path, inputs: object) -> Simplified:
        return Simplified(source, "onnxsim crashed with signal 11")

    monkeypatch.setattr(stage, "simplify", crashes)
    progress = SilentProgress()

    artefact = export(tmp_path, replace(PLAIN, simplify=True), progress=progress)

    assert artefact.manifest.graph is not None
    assert not artefact.manifest.graph.simplified
    assert artefact.manifest.graph.note == "onnxsim crashed with signal 11"
    (warning,) = progress.warnings
    assert "signal 11" in warning
    assert "unsimplified" in warning
    image = photograph(PLAIN)
    answer = run_graph(artefact.path, tmp_path, image=image)["logits"]
    np.testing.assert_allclose(answer, eager(Sketch(), PLAIN, image), rtol=0, atol=1e-5)


def loud() -> Sketch:
    """A network whose activations leave float16 before its norm tames them."""
    network = Sketch()
    network.conv.weight.data *= 1e5
    return network


def test_islands_are_measured_recorded_and_told(tmp_path: Path) -> None:
    options = replace(PLAIN, precision=Precision.FP16, opset=22)
    network, progress = loud(), SilentProgress()

    # Weights of 1e4 fit float16; what they make of an image does not.
    artefact = export(tmp_path, options, network=network, progress=progress)

    assert artefact.manifest.graph is not None
    islands = artefact.manifest.graph.float32_islands
    model = onnx.load(artefact.path)
    kept = {node.op_type for node in model.graph.node if node.name in islands}
    assert {"Conv", "HardSwish", "LayerNormalization"} <= kept
    assert min(islands.values()) > 65504 / 4
    (note,) = progress.notes
    assert note.startswith(f"{len(islands)} nodes stay float32")
    image = photograph(options)
    answer = run_graph(artefact.path, tmp_path, image=image)["logits"]
    np.testing.assert_allclose(answer, eager(network, options, image), rtol=0, atol=1e-2)


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let graphs count as large from a thousand bytes on."""
    defaults = graphs.write_graph.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "limit", 1000)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_large_weights_lie_beside_the_graph_and_are_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    large(monkeypatch)
    monkeypatch.setattr(graphs, "EXTERNAL_THRESHOLD", 256)
    options = replace(PLAIN, precision=precision, batch=None)

    artefact = export(tmp_path, options)

    data = tmp_path / "net.onnx.data"
    assert contents(tmp_path).keys() == {"net.onnx", "net.onnx.data", "net.json"}
    assert artefact.manifest.graph is not None
    assert artefact.manifest.graph.external_data == {
        data.name: hashlib.sha256(data.read_bytes()).hexdigest()
    }
    image = photograph(options, 3)
    answer = run_graph(artefact.path, tmp_path, image=image)["logits"]
    np.testing.assert_allclose(answer, eager(Sketch(), options, image), rtol=0, atol=1e-2)
    assert open_artefact(artefact.path) == artefact

    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtefactError) as caught:
        open_artefact(artefact.path)
    assert "net.onnx.data" in caught.value.message
    assert "SHA-256" in caught.value.message
    data.unlink()
    with pytest.raises(ArtefactError) as caught:
        open_artefact(artefact.path)
    assert "net.onnx.data" in caught.value.message
    assert "copy it" in caught.value.hint


def _fail_trace(*_: object, **__: object) -> None:
    raise ExportError("tracing failed", "mend it")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _write_and_fail(model: ModelProto, path: Path) -> None:
    path.write_bytes(b"half a gr")
    raise OSError(28, "No space left on device")


def _check_fails(path: Path) -> None:
    raise ExportError("onnx finds it invalid", "mend it")


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    ("where", "name", "does", "error"),
    [
        (stage, "trace", _fail_trace, ExportError),
        (stage, "trace", _interrupt, KeyboardInterrupt),
        (stage, "measure", _interrupt, KeyboardInterrupt),
        (graphs, "write_graph", _write_and_fail, ArtefactError),
        (graphs, "check_graph", _check_fails, ExportError),
        (stage, "write_sidecar", _interrupt, KeyboardInterrupt),
    ],
)
def test_a_failed_export_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: object,
    name: str,
    does: Callable[..., None],
    error: type[BaseException],
    older: bool,
) -> None:
    (tmp_path / "neighbour.txt").write_text("mine")
    if older:
        (tmp_path / "net.onnx").write_bytes(b"an older graph")
        (tmp_path / "net.onnx.data").write_bytes(b"and its weights")
        (tmp_path / "net.json").write_text("{}")
    before = contents(tmp_path)
    monkeypatch.setattr(where, name, does)

    with pytest.raises(error):
        export(tmp_path, replace(PLAIN, precision=Precision.FP16))

    assert contents(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_new_export_replaces_an_older_one(tmp_path: Path) -> None:
    first = export(tmp_path)
    second = export(tmp_path, replace(PLAIN, batch=2))

    assert first.manifest.sha256 != second.manifest.sha256
    assert open_artefact(second.path).manifest.inputs[0].batch == 2
    assert contents(tmp_path).keys() == {"net.onnx", "net.json"}


def test_a_graph_in_another_opset_than_asked_for_fails(tmp_path: Path) -> None:
    path = export(tmp_path).path

    with pytest.raises(ExportError) as caught:
        graphs.describe_graph(path, 21)

    assert "was to be opset 21 and is 20" in caught.value.message
    assert "--opset" in caught.value.hint


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_a_float32_artefact_narrows_to_one_of_its_own(
    tmp_path: Path, precision: Precision
) -> None:
    wide = export(tmp_path)
    before = wide.path.read_bytes()

    narrow = stage.cast_artefact(
        wide, tmp_path / "half.onnx", precision, [photograph(PLAIN)], SilentProgress()
    )

    assert wide.path.read_bytes() == before
    assert open_artefact(narrow.path) == narrow
    assert narrow.manifest.precision is precision
    assert narrow.manifest.sources[0].sha256 == wide.manifest.sha256
    assert narrow.manifest.graph is not None
    model = onnx.load(narrow.path)
    assert narrow.manifest.graph.opset == graphs.opset_of(model)
    assert narrow.manifest.options["opset"] == graphs.opset_of(model)
    assert narrow.manifest.graph.nodes == graphs.count_nodes(model)
    types = types_of(model)
    products = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert products
    half = TensorProto.FLOAT16 if precision is Precision.FP16 else TensorProto.BFLOAT16
    assert {types[node.output[0]] for node in products} == {half}

    with pytest.raises(PrecisionError) as caught:
        stage.cast_artefact(narrow, tmp_path / "again.onnx", precision, [], SilentProgress())
    assert "only fp32" in caught.value.message
    assert f"--precision {precision}" in caught.value.hint
    assert not (tmp_path / "again.onnx").exists()


def test_only_float16_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(export(tmp_path).path)
    monkeypatch.setattr(stage, "measure", _interrupt)

    typed, islands = stage.narrow(
        model, Precision.BF16, [floats(1, 3, *SIZE)], SilentProgress(), half_io=False
    )

    assert islands == {}
    assert typed.graph.node
    with pytest.raises(KeyboardInterrupt):
        stage.narrow(model, Precision.FP16, [], SilentProgress(), half_io=False)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_a_graph_over_2_gb_cannot_be_narrowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    monkeypatch.setattr(graphs, "is_large", lambda *_: True)
    with pytest.raises(PrecisionError) as caught:
        export(tmp_path, replace(PLAIN, precision=precision, opset=22))
    assert "over 2 GB" in caught.value.message
    assert caught.value.hint == "export it in fp32"
    assert not contents(tmp_path)
