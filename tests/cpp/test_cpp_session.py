"""A session answers photographs as Python does, whatever the network takes and returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import cpp_models
from support.command_line import TINY
from support.cpp_probe import Probe

from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.images import NamedImage, Pixels, photographs
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.open import open_prepared
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.options import (
    OUTPUT_FORMATS,
    ImageSize,
    InputFormat,
    OutputFormat,
    Task,
)
from hrvit_deploy.runners.spec import Provider, RunnerSpec, RunOptions

pytest_plugins = ["support.cpp_fixtures"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "digit_scenes"
STRETCH, PAD = FitOptions(), FitOptions(Fit.PAD)
# The road may end in another label where two scores are within a rounding of each other.
LEAST_ALIKE = 0.999


def theirs(made: Artefact, images: Sequence[Pixels], fit: FitOptions) -> list[NDArray[Any]]:
    """Python's answers, in OpenVINO too."""
    spec = RunnerSpec(made, RunOptions(Provider.OPENVINO))
    named = [NamedImage(str(index), pixels) for index, pixels in enumerate(images)]
    sizes = [ImageSize(*pixels.shape[:2]) for pixels in images]
    network = made.manifest.network
    with open_prepared(spec) as side:
        if network.task is Task.CLASSIFY:
            return list(probabilities(side, named, fit))
        return list(label_maps(side, named, sizes, fit, network.num_classes))


def ours(
    probe: Probe, made: Artefact, images: list[Pixels], fit: FitOptions, batch: int = 0
) -> list[NDArray[Any]]:
    """The C++ library's."""
    words = (made.path, fit.fit, batch, *probe.images(images))
    if made.manifest.network.task is Task.CLASSIFY:
        return list(probe.array("answer", *words, dtype=np.float32).reshape(len(images), -1))
    labels, maps = probe.array("answer", *words), []
    for pixels in images:
        height, width = pixels.shape[:2]
        maps.append(labels[: height * width].reshape(height, width))
        labels = labels[height * width :]
    return maps


@pytest.fixture
def seen() -> list[Pixels]:
    """The photographs, and a small part of one."""
    pixels = [photograph.pixels for photograph in photographs()]
    return [*pixels, pixels[0][100:150, 200:237].copy()]


def check_alike(probe: Probe, made: Artefact, seen: list[Pixels], fit: FitOptions) -> None:
    for mine, other in zip(ours(probe, made, seen, fit), theirs(made, seen, fit), strict=True):
        assert mine.shape == other.shape
        assert (mine == other).mean() >= LEAST_ALIKE
    assert len(np.unique(theirs(made, seen[:1], fit)[0])) > 1


@pytest.mark.parametrize("taken", InputFormat)
@pytest.mark.parametrize("output", OUTPUT_FORMATS[Task.SEGMENT])
@pytest.mark.parametrize("fit", [STRETCH, PAD], ids=["stretch", "pad"])
def test_every_format_is_answered_alike(
    probe: Probe,
    tmp_path: Path,
    seen: list[Pixels],
    taken: InputFormat,
    output: OutputFormat,
    fit: FitOptions,
) -> None:
    check_alike(probe, cpp_models.segmenter(tmp_path, output, taken), seen, fit)


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "float16"},
        {"dtype": "bfloat16"},
        {"batch": 2},
        {"batch": "batch"},
        {"undecided": True},
        {"quantized": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_types_batches_and_nan_are_answered_alike(
    probe: Probe, tmp_path: Path, seen: list[Pixels], options: dict[str, Any]
) -> None:
    made = cpp_models.segmenter(tmp_path, **options)
    check_alike(probe, made, seen, STRETCH)
    if options.get("undecided"):
        assert -1 in ours(probe, made, seen, STRETCH)[0]


def test_batch_of_a_dynamic_graph_can_be_chosen(
    probe: Probe, tmp_path: Path, seen: list[Pixels]
) -> None:
    made = cpp_models.segmenter(tmp_path, batch="batch")
    one, two = (ours(probe, made, seen, STRETCH, batch) for batch in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("output", OUTPUT_FORMATS[Task.CLASSIFY])
def test_classifiers_return_probabilities(
    probe: Probe, tmp_path: Path, seen: list[Pixels], output: OutputFormat
) -> None:
    made = cpp_models.classifier(tmp_path, output, 2)
    mine, other = ours(probe, made, seen, STRETCH), theirs(made, seen, STRETCH)
    np.testing.assert_allclose(mine, other, rtol=1e-6)
    np.testing.assert_allclose(np.sum(mine, axis=1), 1, rtol=1e-6)


def test_network_segments_photographs_alike(
    probe: Probe, exported: Path, seen: list[Pixels]
) -> None:
    (path,) = (exported / "export").glob("*.onnx")
    check_alike(probe, open_artefact(path), seen, STRETCH)


def test_trained_network_segments_photographs_alike(
    probe: Probe, tmp_path: Path, seen: list[Pixels]
) -> None:
    from hrvit_deploy.image_source import ImageSource
    from hrvit_deploy.model.variants import NetworkSpec, load_variant
    from hrvit_deploy.options import ExportOptions
    from hrvit_deploy.pipeline import stages
    from hrvit_deploy.progress import SilentProgress

    checkpoint = EXAMPLE / "hrvit_tiny.safetensors"
    trained = stages.load(
        NetworkSpec(load_variant(str(TINY)), checkpoint=checkpoint), SilentProgress()
    )
    options = ExportOptions(ImageSize(128, 128))
    pictures = ImageSource(limit=1)
    made = stages.export(trained, options, tmp_path, pictures, SilentProgress())
    check_alike(probe, made, seen, STRETCH)


def test_threads_share_a_session(probe: Probe, exported: Path, seen: list[Pixels]) -> None:
    (path,) = (exported / "export").glob("*.onnx")
    for parallel in (1, 3):
        words = ("share", path, 8, 3, parallel, *probe.images(seen[2:]))
        assert int(probe.text(*words)) == 24


def test_rows_may_lie_apart(probe: Probe, tmp_path: Path, seen: list[Pixels]) -> None:
    made = cpp_models.segmenter(tmp_path)
    labels = probe.array("stride", made.path, 13, *probe.images(seen[2:]))
    np.testing.assert_array_equal(labels, ours(probe, made, seen[2:], STRETCH)[0].ravel())


def test_raw_road_takes_what_the_graph_takes(probe: Probe, tmp_path: Path) -> None:
    made = cpp_models.classifier(tmp_path, OutputFormat.LOGITS, "batch")
    tensor = np.random.default_rng(0).normal(size=(3, 3, *cpp_models.SIZE)).astype(np.float32)
    given = probe.write("in", tensor)
    scores = probe.array("raw", made.path, "float", given, *tensor.shape, dtype=np.float32)
    weights = cpp_models._weights(1)["weights"].reshape(cpp_models.CLASSES, 3)
    expected = 3 * tensor.mean(axis=(2, 3)) @ weights.T
    np.testing.assert_allclose(scores.reshape(3, -1), expected, atol=1e-5)

    out = tmp_path / "out"
    short = probe.error("raw", out, made.path, "float", given, 3, 3, 32, 32)
    assert short.startswith("RunnerError: image has shape 3 x 3 x 32 x 32")
    assert "3 x 3 x 32 x 64" in short
    other = probe.error("raw", out, made.path, "uint8", given, *tensor.shape)
    assert other.startswith("RunnerError: image is of bytes, the network takes float32")
    tensor[1, 2, 3, 4] = np.nan
    given = probe.write("in", tensor)
    broken = probe.error("raw", out, made.path, "float", given, *tensor.shape)
    assert broken.startswith("RunnerError: image holds values that are NaN or infinite")


def test_views_that_cannot_be_are_refused(probe: Probe, tmp_path: Path) -> None:
    made = cpp_models.segmenter(tmp_path)
    assert probe.error("view", made.path, 0, 5, 0).startswith("InputError: there are no pixels")
    short = probe.error("view", made.path, 5, 5, 14)
    assert "a stride of 14 bytes is shorter than a row of 5" in short


def test_tasks_are_not_mixed_up(probe: Probe, tmp_path: Path) -> None:
    made = cpp_models.classifier(tmp_path, OutputFormat.LOGITS)
    assert probe.error("view", made.path, 1, 1, 0) == (
        "UsageError: the network classifies; call classify"
    )


def test_fixed_batch_stays(probe: Probe, tmp_path: Path, seen: list[Pixels]) -> None:
    made = cpp_models.segmenter(tmp_path, batch=2)
    words = ("answer", tmp_path / "out", made.path, "stretch", 3, *probe.images(seen))
    assert probe.error(*words).startswith(
        "UsageError: the artefact takes 2 images a run, not 3"
    )


Spoil = Callable[[Path], Any]


def sidecar_with(change: Callable[[Any], Any]) -> Spoil:
    """Change what a sidecar says."""

    def spoil(path: Path) -> None:
        sidecar = path.with_suffix(".json")
        fields = json.loads(sidecar.read_text())
        change(fields)
        sidecar.write_text(json.dumps(fields))

    return spoil


SPOILED: dict[str, tuple[Spoil, str]] = {
    "gone": (Path.unlink, "there is no {path}; check the path"),
    "alone": (lambda path: path.with_suffix(".json").unlink(), "needs its sidecar"),
    "touched": (
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        (
            "{path} is not the file its sidecar describes (SHA-256 differs); run hrvit-deploy"
            " export again, or restore the file"
        ),
    ),
    "no json": (
        lambda path: path.with_suffix(".json").write_text('{"schema": 1,'),
        "is not a sidecar",
    ),
    "no object": (
        lambda path: path.with_suffix(".json").write_text("[1]"),
        "has schema null, this version reads 1",
    ),
    "schema": (
        sidecar_with(lambda fields: fields.update(schema=2)),
        "has schema 2, this version reads 1; make the artefact again",
    ),
    "half": (sidecar_with(lambda fields: fields.pop("network")), "is not a sidecar"),
    "format": (
        sidecar_with(lambda fields: fields.update(output_format="boxes")),
        "output_format is 'boxes', which this version does not know",
    ),
    "grey": (
        sidecar_with(lambda fields: fields["preparation"].update(color="L", mean=[1.0])),
        "it wants 1 channels of L",
    ),
    "shape": (
        sidecar_with(lambda fields: fields["outputs"][0].update(shape=[1, 7, 9, 9])),
        "RunnerError: openvino-cpu returned 1 x 7 x 32 x 64, the sidecar says 1 x 7 x 9 x 9",
    ),
    "name": (
        sidecar_with(lambda fields: fields["inputs"][0].update(name="picture")),
        "RunnerError: OpenVINO cannot load",
    ),
    "weights": (
        sidecar_with(lambda fields: fields["graph"].update(external_data={"w.data": "00"})),
        "w.data, which holds the weights of small.onnx",
    ),
    "kind": (
        sidecar_with(lambda fields: fields.update(kind="plan")),
        "describes a .plan, not small.onnx; give small.plan",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_artefacts_that_do_not_fit_are_refused(
    probe: Probe, tmp_path: Path, seen: list[Pixels], case: str
) -> None:
    made = cpp_models.segmenter(tmp_path)
    spoil, message = SPOILED[case]
    spoil(made.path)
    words = ("answer", tmp_path / "out", made.path, "stretch", 0, *probe.images(seen[2:]))
    assert message.format(path=made.path) in probe.error(*words)


def test_graph_that_is_none_is_refused(probe: Probe, tmp_path: Path) -> None:
    from hrvit_deploy.artefact import record, sha256_of

    made = cpp_models.segmenter(tmp_path)
    made.path.write_bytes(b"no graph")
    record(made, sha256=sha256_of(made.path))
    # OpenVINO's other frontends look at it too, say so, and leak a few bytes.
    leaking = {"ASAN_OPTIONS": "detect_leaks=0"}
    line = probe.error("view", made.path, 1, 1, 0, env=leaking, chatty=True)
    assert line.startswith(f"RunnerError: OpenVINO cannot load {made.path}: ")
