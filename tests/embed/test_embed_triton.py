"""Repositories that Triton's own definitions accept, and that answer as the package does."""

from __future__ import annotations

import base64
import io
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.fake_triton import Repository, python_model
from support.labelled import picture
from support.small_artefacts import artefact

from hrvit_deploy import standalone
from hrvit_deploy.artefact import Artefact, Engine, Kind, Preparation, TensorInfo, open_artefact
from hrvit_deploy.classes import choose_classes
from hrvit_deploy.embed.triton.readme import commands
from hrvit_deploy.embed.triton.repository import embed_triton
from hrvit_deploy.embed.triton.serving import Device, TritonBackend, TritonOptions, settle
from hrvit_deploy.errors import ArtefactError, UsageError
from hrvit_deploy.images import NamedImage, load_image, prepare
from hrvit_deploy.inference.fit import FitOptions
from hrvit_deploy.inference.overlay import index_image
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Precision, Task
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

STANDALONE = Path(standalone.__file__).parent
SIZES = ((20, 50), (32, 32), (90, 61))
ENGINE = Engine("tensorrt", "10.13.3.9", {"Half": 1}, {"Half": 1}, 1, 1.0)


def jpeg(seed: int, height: int, width: int) -> bytes:
    return encoded(Image.fromarray(picture(seed, height, width)), "JPEG")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def strings(contents: list[bytes], *, batched: bool) -> Any:
    array = np.empty(len(contents), np.object_)
    array[:] = contents
    return array[:, None] if batched else array


def built(
    source: Artefact, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Repository:
    made = embed_triton(source, folder / "out", TritonOptions(**options))
    repository = Repository(made / "models", monkeypatch)
    repository.check_ensemble()
    return repository


def plan(folder: Path, **changes: Any) -> Artefact:
    """A graph's bytes under a plan's sidecar: enough to be told of."""
    graph = artefact(folder)
    path = graph.path.with_suffix(".plan")
    path.write_bytes(graph.path.read_bytes())
    options = {"profile": {"min": 1, "opt": 2, "max": 6}}
    usual = {"kind": Kind.PLAN, "graph": None, "engine": ENGINE, "options": options}
    return Artefact(path, replace(graph.manifest, **{**usual, **changes}))


@pytest.mark.parametrize("batch", ["batch", 1, 2])
@pytest.mark.parametrize("backend", [TritonBackend.ONNXRUNTIME, TritonBackend.OPENVINO])
def test_classifier_answers_as_the_package_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int | str, backend: TritonBackend
) -> None:
    source = artefact(tmp_path, batch=batch)
    repository = built(source, tmp_path, monkeypatch, backend=backend)
    ensemble = repository.ensemble()
    count = 3 if batch == "batch" else int(batch)
    contents = [jpeg(seed, *SIZES[seed]) for seed in range(count)]

    image = strings(contents, batched=batch == "batch")
    answer = repository.run(ensemble.name, {"image": image})

    pixels = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    images = [NamedImage(str(number), each) for number, each in enumerate(pixels)]
    with OnnxRuntimeRunner(source.path) as runner:
        side = PreparedRunner(
            runner, source.manifest.preparation, OutputFormat.LOGITS, batch=count
        )
        expected = np.stack(list(probabilities(side, images, FitOptions())))
    if backend is TritonBackend.ONNXRUNTIME:
        np.testing.assert_array_equal(answer.tensors["probabilities"], expected)
    np.testing.assert_allclose(answer.tensors["probabilities"], expected, atol=1e-6)
    assert ensemble.max_batch_size == (0 if batch != "batch" else ensemble.max_batch_size)
    assert ensemble.output[0].label_filename == "labels.txt"


def test_segmenter_answers_as_the_package_does(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (exported / "export").glob("*.onnx")
    source = open_artefact(path)
    repository = built(source, tmp_path, monkeypatch)
    content = jpeg(3, 70, 50)

    answer = repository.run(
        repository.ensemble().name, {"image": strings([content], batched=False)}
    )

    pixels = np.asarray(Image.open(io.BytesIO(content)))
    with OnnxRuntimeRunner(path) as runner:
        side = PreparedRunner(runner, source.manifest.preparation, OutputFormat.LOGITS)
        image, size = NamedImage("", pixels), ImageSize(70, 50)
        (labels,) = label_maps(side, [image], [size], FitOptions(), 5)
    drawn = Image.open(io.BytesIO(answer.tensors["label_map"][0]))
    expected = index_image(labels, choose_classes(source.manifest.network))
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(expected))
    assert drawn.getpalette() == expected.getpalette()
    assert len(np.unique(np.asarray(drawn))) > 1


def odd_images() -> dict[str, bytes]:
    """Files of every kind that a preparation tells apart."""
    colours = Image.fromarray(picture(0, 40, 52))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(np.linspace(0, 65535, 40 * 52).reshape(40, 52).astype(np.uint16))
    clear = colours.copy()
    clear.putalpha(Image.fromarray(picture(1, 40, 52)[..., 0]))
    return {
        "a.jpg": encoded(colours, "JPEG", exif=exif),
        "b.png": encoded(clear, "PNG"),
        "c.png": encoded(wide, "PNG"),
        "d.jpg": encoded(colours.convert("CMYK"), "JPEG"),
        "e.gif": encoded(colours.convert("P"), "GIF"),
        "f.png": encoded(colours.convert("L"), "PNG"),
        "g.webp": encoded(colours, "WEBP"),
        "h.png": encoded(colours.resize((32, 32)), "PNG"),
    }


@pytest.mark.parametrize(
    ("preparation", "dtype"),
    [
        (Preparation(ImageSize(32, 32)), "float32"),
        (Preparation(ImageSize(32, 32)), "float16"),
        (Preparation(ImageSize(32, 32), InputFormat.UINT8_NHWC), "uint8"),
        (Preparation(ImageSize(32, 32), mean=(1.5, 0, 255), std=(0.1, 3, 7)), "float32"),
    ],
)
def test_images_are_prepared_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preparation: Preparation, dtype: str
) -> None:
    pixels = preparation.format is InputFormat.UINT8_NHWC
    shape = ("batch", 32, 32, 3) if pixels else ("batch", 3, 32, 32)
    inputs = (TensorInfo("image", shape, dtype, "NHWC" if pixels else "NCHW"),)
    source = artefact(tmp_path, preparation=preparation, inputs=inputs)
    repository = built(source, tmp_path, monkeypatch)

    files = odd_images()
    answer = repository.run(
        "small-prepare", {"encoded": strings(list(files.values()), batched=True)}
    )

    for (name, content), found in zip(files.items(), answer.tensors["prepared"], strict=True):
        (tmp_path / name).write_bytes(content)
        expected = prepare(load_image(tmp_path / name), preparation, dtype)
        np.testing.assert_array_equal(found[None], expected, err_msg=name)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"no image", "is no image"),
        (b"", "is no image"),
        (jpeg(0, 40, 40)[:-300], "cannot be decoded"),
        (encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "white nobody knows"),
    ],
)
def test_a_broken_image_fails_its_request_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bytes, reason: str
) -> None:
    repository = built(artefact(tmp_path), tmp_path, monkeypatch)
    file = repository.folder / "small-prepare" / "1" / "model.py"
    model = python_model(file, repository.configs["small-prepare"], monkeypatch)

    good, bad = jpeg(0, 40, 40), [jpeg(1, 40, 40), broken]
    requests = [{"encoded": strings(c, batched=True)} for c in ([good], bad, [good])]
    first, second, third = model.execute(requests)

    assert first.error is None
    assert third.error is None
    assert reason in str(second.error)
    assert "image 2 of 2" in str(second.error)
    assert second.error.code == "INVALID_ARG"
    assert repository.run(
        "small-images", requests[1] and {"image": requests[1]["encoded"]}
    ).error


@pytest.mark.parametrize("step", ["prepare", "decide"])
def test_no_fault_of_one_request_reaches_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    repository = built(artefact(tmp_path), tmp_path, monkeypatch)
    file = repository.folder / f"small-{step}" / "1" / "model.py"
    model = python_model(file, repository.configs[f"small-{step}"], monkeypatch)
    scores = np.zeros((1, 7), np.float32)
    good = {"encoded": strings([jpeg(0, 40, 40)], batched=True), "scores": scores}
    first, second = model.execute([{"encoded": np.zeros(3), "scores": None}, good])
    assert first.error is not None
    assert second.error is None


@pytest.mark.parametrize(
    ("output", "classes"),
    [
        (OutputFormat.LOGITS, 7),
        (OutputFormat.LOGITS, 300),
        (OutputFormat.LOGITS_QUARTER, 7),
        (OutputFormat.CLASSMAP, 7),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_label_maps_are_decided_bit_for_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: OutputFormat,
    classes: int,
    dtype: Any,
) -> None:
    generator = np.random.default_rng(0)
    shape: tuple[int, ...] = (2, classes, 32, 32)
    if output is OutputFormat.LOGITS_QUARTER:
        shape = (2, classes, 8, 8)
    answers = generator.normal(size=shape).astype(dtype)
    answers[1, 3, 4, 5] = np.nan
    if output is OutputFormat.CLASSMAP:
        shape, dtype = (2, 32, 32), np.uint8
        answers = generator.integers(0, classes + 2, shape, dtype=np.uint8)
    source = segmenter(tmp_path, output, classes, shape, np.dtype(dtype).name)
    repository = built(source, tmp_path, monkeypatch)
    sizes = [(50, 20), (32, 32)]

    found = repository.run(
        "small-decide", {"scores": answers, "size": np.array(sizes, np.int32)}
    )

    named = choose_classes(source.manifest.network)
    side = PreparedRunner(Answering(answers), source.manifest.preparation, output, batch=2)
    images = [NamedImage("", np.zeros((*size, 3), np.uint8)) for size in sizes]
    expected = label_maps(side, images, [ImageSize(*s) for s in sizes], FitOptions(), classes)
    for content, labels in zip(found.tensors["label_map"].ravel(), expected, strict=True):
        drawn = np.asarray(Image.open(io.BytesIO(content)))
        np.testing.assert_array_equal(drawn, np.asarray(index_image(labels, named)))


class Answering:
    """A runner that knows its answer."""

    name, device = "answering", "cpu"

    def __init__(self, answers: Any) -> None:
        self.settings: dict[str, Any] = {}
        self._answers = answers

    def run(self, inputs: Any) -> dict[str, Any]:
        return {"logits": self._answers}

    def close(self) -> None: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...


def segmenter(
    folder: Path, output: OutputFormat, classes: int, shape: tuple[int, ...], dtype: str
) -> Artefact:
    source = artefact(folder)
    network = replace(source.manifest.network, task=Task.SEGMENT, num_classes=classes)
    outputs = (TensorInfo("logits", ("batch", *shape[1:]), dtype, "NCHW"),)
    return artefact(folder, network=network, output_format=output, outputs=outputs)


def test_strips_of_large_pictures_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = segmenter(tmp_path, OutputFormat.LOGITS, 7, (1, 7, 32, 32), "float32")
    repository = built(source, tmp_path, monkeypatch)
    file = repository.folder / "small-decide" / "1" / "model.py"
    model = python_model(file, repository.configs["small-decide"], monkeypatch)
    scores = np.random.default_rng(0).normal(size=(7, 32, 32)).astype(np.float32)

    whole = model._labels(scores, (50, 70))
    standalone = type(model)._labels.__globals__["output_label_map"].__globals__
    assert Path(standalone["__file__"]) == file.parent / "standalone" / "postprocess.py"
    monkeypatch.setitem(standalone, "STRIP_SCORES", 7 * 70 * 3)
    np.testing.assert_array_equal(model._labels(scores, (50, 70)), whole)


def test_dynamic_graph_is_batched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"max_batch": 16, "instances": 3, "threads": 2, "delay_us": 700}
    repository = built(artefact(tmp_path), tmp_path, monkeypatch, **options)
    config = repository.configs["small"]
    assert config.max_batch_size == repository.ensemble().max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 700
    assert config.instance_group[0].count == 3
    assert config.instance_group[0].kind == config.instance_group[0].KIND_CPU
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert [warm.batch_size for warm in config.model_warmup] == [1, 8, 16]
    assert list(config.input[0].dims) == [3, 32, 32]
    model = repository.folder / "small"
    assert open_artefact(model / "1" / "model.onnx").manifest == artefact(tmp_path).manifest
    assert (model / "labels.txt").read_text().split() == ["0", "1", "2"]


def test_fixed_graph_is_served_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = built(artefact(tmp_path, batch=1), tmp_path, monkeypatch)
    config = repository.configs["small"]
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 3, 32, 32]
    assert not config.HasField("dynamic_batching")
    (warm,) = config.model_warmup
    assert warm.batch_size == 1
    assert list(warm.inputs["image"].dims) == [1, 3, 32, 32]


def test_openvino_runs_what_clients_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"backend": TritonBackend.OPENVINO, "max_batch": 0}
    repository = built(artefact(tmp_path), tmp_path, monkeypatch, **chosen)
    config = repository.configs["small"]
    assert list(config.input[0].dims) == [-1, 3, 32, 32]
    assert "ENABLE_BATCH_PADDING" not in config.parameters
    assert list(config.model_warmup[0].inputs["image"].dims) == [1, 3, 32, 32]
    image = strings([jpeg(0, 40, 40)] * 2, batched=False)
    assert len(repository.run("small-images", {"image": image}).tensors["probabilities"]) == 2


def test_plan_is_served_within_its_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plan(tmp_path)
    repository = built(source, tmp_path, monkeypatch)
    config = repository.configs["small"]
    assert config.backend == "tensorrt"
    assert config.default_model_filename == "model.plan"
    assert config.max_batch_size == 6
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 6]
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU
    assert config.optimization.cuda.graphs
    told = (tmp_path / "out" / "README.md").read_text()
    assert "TensorRT 10.13.3.9" in told
    assert "--gpus all" in told


def test_code_in_a_plan_runs_only_where_the_server_is_told(tmp_path: Path) -> None:
    profile = {"min": 1, "opt": 1, "max": 1}
    for given in (False, True):
        source = plan(tmp_path, options={"profile": profile, "version_compatible": given})
        line = commands(settle(source, TritonOptions())).serve
        assert ("version-compatible=true" in line) is given


def test_eight_bit_floats_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = artefact(tmp_path, precision=Precision.FP8)
    config = built(source, tmp_path, monkeypatch).configs["small"]
    assert config.optimization.graph.level == 2


def test_probabilities_need_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = artefact(tmp_path, output_format=OutputFormat.PROBABILITIES)
    repository = built(source, tmp_path, monkeypatch)
    assert set(repository.configs) == {"small", "small-prepare", "small-images"}
    image = strings([jpeg(0, 40, 40)], batched=True)
    assert repository.run("small-images", {"image": image}).error is None


@pytest.mark.parametrize(
    ("batch", "changes", "options", "problem"),
    [
        ("batch", {}, {"backend": TritonBackend.TENSORRT}, "--triton-backend onnxruntime"),
        (1, {}, {"max_batch": 4}, "--batch dynamic"),
        ("batch", {}, {"max_batch": 0}, "--max-batch 1"),
        ("batch", {}, {"device": Device.GPU, "threads": 2}, "leave --threads out"),
        (
            "batch",
            {},
            {"device": Device.GPU, "backend": TritonBackend.OPENVINO},
            "--device cpu",
        ),
        ("batch", {"precision": Precision.BF16}, {}, "openvino"),
        (
            "batch",
            {"inputs": (TensorInfo("image", ("batch", 3, 32, 32), "bfloat16", "NCHW"),)},
            {},
            "--half-io",
        ),
    ],
)
def test_what_triton_cannot_serve_is_refused(
    tmp_path: Path,
    batch: int | str,
    changes: dict[str, Any],
    options: dict[str, Any],
    problem: str,
) -> None:
    source = artefact(tmp_path, batch=batch, **changes)
    with pytest.raises(UsageError) as refusal:
        embed_triton(source, tmp_path / "out", TritonOptions(**options))
    assert problem in refusal.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "max_batch", "hint"),
    [
        ({"engine": replace(ENGINE, backend="tensorrt-rtx")}, None, "--backend tensorrt"),
        ({"options": {"profile": {"min": 2, "opt": 2, "max": 6}}}, None, "--profile 1,2,6"),
        ({}, 9, "--profile 1,2,9"),
        ({"options": {"strip_weights": True}}, None, "without stripping"),
    ],
)
def test_plans_that_triton_cannot_run_are_refused(
    tmp_path: Path, changes: dict[str, Any], max_batch: int | None, hint: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        embed_triton(
            plan(tmp_path, **changes), tmp_path / "out", TritonOptions(max_batch=max_batch)
        )
    assert hint in refusal.value.hint


@pytest.mark.parametrize(
    "wrong",
    [{"max_batch": -1}, {"instances": 0}, {"threads": -1}, {"release": "newest"}],
)
def test_options_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TritonOptions(**wrong)


def test_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ArtefactError, match="is there already"):
        embed_triton(artefact(tmp_path), tmp_path / "out")


def test_readme_has_the_commands_and_the_code_compiles(tmp_path: Path) -> None:
    source = artefact(tmp_path)
    made = embed_triton(source, tmp_path / "out")
    told = (made / "README.md").read_text()
    lines = commands(settle(source, TritonOptions()))
    for line in (lines.build, lines.serve, lines.measure, lines.measure_network, lines.search):
        assert f"    {line}\n" in told
        assert shlex.split(line)
    code = told.partition("then\n\n")[2].partition("\n\n##")[0].replace("\n    ", "\n").strip()
    compile(code, "README.md", "exec")
    assert "pip install" in (made / "Dockerfile").read_text()


def test_perf_data_is_an_image_in_a_string(tmp_path: Path) -> None:
    made = embed_triton(artefact(tmp_path), tmp_path / "out")
    (one,) = json.loads((made / "perf.json").read_text())["data"]
    element = base64.b64decode(one["image"]["b64"])
    assert int.from_bytes(element[:4], "little") == len(element) - 4
    assert Image.open(io.BytesIO(element[4:])).size == (32, 32)


def test_python_steps_hold_what_they_import_as_it_is(tmp_path: Path) -> None:
    made = embed_triton(artefact(tmp_path), tmp_path / "out")
    sources = {path.name: path.read_bytes() for path in STANDALONE.glob("*.py")}
    for step in ("prepare", "decide"):
        copied = made / "models" / f"small-{step}" / "1" / "standalone"
        assert {path.name: path.read_bytes() for path in copied.iterdir()} == sources
    assert len([*made.rglob("standalone")]) == 2
    for path in made.rglob("*.py"):
        assert "hrvit_deploy" not in path.read_text("utf-8"), path


def test_files_may_be_read_by_the_container(tmp_path: Path) -> None:
    made = embed_triton(artefact(tmp_path), tmp_path / "out")
    for path in made.rglob("*"):
        assert path.stat().st_mode & 0o044, path
