"""Ranges of a whole graph are those of its activations computed by hand."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from support.graph_making import Value, floats, make_graph
from support.measured_graphs import (
    SIZE,
    activations,
    artefact,
    node,
    pixels,
    products,
    save_images,
)
from support.watching import Counting

from hrvit_deploy.artefact import Artefact, Source
from hrvit_deploy.errors import ArtefactError, InputError
from hrvit_deploy.images import prepare
from hrvit_deploy.options import CalibrationOptions, InputFormat, Method, Precision
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.calibration import collect as collecting
from hrvit_deploy.quantization.calibration.collect import (
    Histograms,
    calibrate,
    collect,
    ranges_from,
)
from hrvit_deploy.quantization.calibration.histogram import Histogram
from hrvit_deploy.quantization.calibration.images import FileSet, PictureSet, open_pictures
from hrvit_deploy.quantization.calibration.stage import calibrate_artefact
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

MINMAX = CalibrationOptions(Method.MINMAX)
COUNT = 5


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "pictures", pixels(COUNT))


def opened(artefact: Artefact, place: Path) -> PictureSet:
    return open_pictures(place, MINMAX, artefact.manifest.preparation)


def collected(artefact: Artefact, place: Path) -> Histograms:
    return collect(artefact, opened(artefact, place), SilentProgress())


def largest() -> dict[str, float]:
    return {name: np.abs(v).max() for name, v in activations(pixels(COUNT)).items()}


def test_minmax_is_the_largest_magnitude_of_every_product_input(
    tmp_path: Path, images: Path
) -> None:
    histograms = collected(artefact(tmp_path), images)

    ranges = ranges_from(histograms, MINMAX)

    assert ranges == pytest.approx(largest(), rel=1e-4)


def test_every_value_of_every_image_is_counted_once(tmp_path: Path, images: Path) -> None:
    histograms = collected(artefact(tmp_path), images)

    sizes = {name: values.size for name, values in activations(pixels(COUNT)).items()}
    assert {name: counted.total for name, counted in histograms.items()} == sizes
    assert histograms["mixed"] is histograms["turned"]


def test_one_pass_serves_every_method(tmp_path: Path, images: Path) -> None:
    own = artefact(tmp_path)
    histograms = collected(own, images)

    for method in Method:
        options = CalibrationOptions(method)
        assert calibrate(
            own, opened(own, images), options, SilentProgress()
        ).amax == ranges_from(histograms, options)


def test_the_order_of_images_changes_nothing(tmp_path: Path, images: Path) -> None:
    own = artefact(tmp_path)
    paths = tuple(sorted(images.iterdir()))
    forwards, backwards = FileSet(paths), FileSet(paths[::-1])

    for method in Method:
        first, second = (
            calibrate(own, pictures, CalibrationOptions(method), SilentProgress())
            for pictures in (forwards, backwards)
        )
        assert first == second


def test_ranges_say_where_they_come_from(tmp_path: Path, images: Path) -> None:
    own = artefact(tmp_path)
    pictures = opened(own, images)

    ranges = calibrate(own, pictures, MINMAX, SilentProgress())

    assert ranges.model_sha256 == own.manifest.sha256
    assert ranges.model == own.path.name
    assert (ranges.method, ranges.images, ranges.random_data) == (Method.MINMAX, COUNT, False)
    assert ranges.images_sha256 == pictures.sha256
    assert {"hrvit-deploy", "onnxruntime", "numpy"} <= set(ranges.versions)


@pytest.mark.parametrize("batch", [2, 5, 8])
def test_a_fixed_batch_is_filled(tmp_path: Path, images: Path, batch: int) -> None:
    histograms = collected(artefact(tmp_path, batch=batch), images)

    assert ranges_from(histograms, MINMAX) == pytest.approx(largest(), rel=1e-4)
    full = -(-COUNT // batch) * batch
    assert histograms["image"].total == full * 3 * SIZE.height * SIZE.width


def test_a_graph_of_pixels_is_fed_pixels(tmp_path: Path, images: Path) -> None:
    model = make_graph(
        [
            node("Cast", ["image"], ["pixels"], to=int(TensorProto.FLOAT)),
            node("MatMul", ["pixels", "weight"], ["logits"]),
        ],
        Value("image", ("batch", *SIZE, 3), int(TensorProto.UINT8)),
        [Value("logits", ("batch", *SIZE, 5))],
        {"weight": floats(3, 5)},
    )
    own = artefact(tmp_path, model, format_=InputFormat.UINT8_NHWC)

    assert ranges_from(collected(own, images), MINMAX) == {"pixels": pixels(COUNT).max()}

    np.savez(tmp_path / "floats.npz", floats(2, *SIZE, 3))
    with pytest.raises(InputError, match="the graph takes pixels"):
        collected(own, tmp_path / "floats.npz")


def test_prepared_floats_are_taken_as_they_are(tmp_path: Path, images: Path) -> None:
    own = artefact(tmp_path)
    prepared = np.concatenate([prepare(i, own.manifest.preparation) for i in pixels(COUNT)])
    np.savez(tmp_path / "floats.npz", prepared)

    histograms = collected(own, tmp_path / "floats.npz")

    expected = collected(own, images)
    for name, counted in histograms.items():
        np.testing.assert_array_equal(counted.counts, expected[name].counts)


def test_floats_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "floats.npz", floats(2, 3, 16, 16))

    with pytest.raises(InputError, match="3 x 16 x 16, and the graph takes 3 x 32 x 32"):
        collected(artefact(tmp_path), tmp_path / "floats.npz")


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_activation_that_is_no_number_is_named(
    tmp_path: Path, images: Path, broken: float
) -> None:
    weight = floats(SIZE[1], 4)
    weight[3, 2] = broken
    model = make_graph(
        [
            node("MatMul", ["image", "bad"], ["middle"]),
            node("MatMul", ["middle", "weight"], ["logits"]),
        ],
        Value("image", ("batch", 3, *SIZE)),
        [Value("logits", ("batch", 3, SIZE[0], 5))],
        {"bad": weight, "weight": floats(4, 5)},
    )

    with pytest.raises(InputError, match=r"^middle is infinite or NaN on .*\.png"):
        collected(artefact(tmp_path, model), images)


def test_activations_leave_before_the_next_image_comes(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[weakref.ref[Any]] = []
    most = 0
    add = Histogram.add

    def watched(self: Histogram, values: NDArray[Any]) -> None:
        nonlocal most
        given.append(weakref.ref(values))
        most = max(most, sum(reference() is not None for reference in given))
        add(self, values)

    monkeypatch.setattr(Histogram, "add", watched)
    collected(artefact(tmp_path), images)

    # Four tensors of one image, its own pixels, and what the loop still names.
    assert len(given) == 4 * COUNT
    assert most <= 2 * 4


def test_a_large_graph_is_run_in_parts_with_the_same_result(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = artefact(tmp_path)
    whole = ranges_from(collected(own, images), MINMAX)
    sizes = collecting._sizes(products())
    assert sizes["mixed"] == 4 * 64 * 5
    assert collecting._groups(products(), ["positive", "mixed", "scores"], 4 * 64 * 10) == [
        ["positive", "mixed"],
        ["scores"],
    ]

    groups = collecting._groups
    monkeypatch.setattr(collecting, "_groups", lambda model, names: groups(model, names, 1))

    assert ranges_from(collected(own, images), MINMAX) == pytest.approx(whole, rel=1e-5)


def test_the_sessions_of_parts_are_open_one_after_another(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners: list[OnnxRuntimeRunner] = []
    most = 0
    make = OnnxRuntimeRunner.__init__

    def watched(self: OnnxRuntimeRunner, *words: Any, **options: Any) -> None:
        nonlocal most
        make(self, *words, **options)
        runners.append(self)
        most = max(most, sum(runner._session is not None for runner in runners))

    monkeypatch.setattr(OnnxRuntimeRunner, "__init__", watched)
    monkeypatch.setattr(collecting, "_groups", lambda model, names: [[name] for name in names])
    watcher = Counting()
    own = artefact(tmp_path)

    calibrate(own, opened(own, images), MINMAX, watcher)

    assert len(runners) == 3
    assert most == 1
    assert all(runner._session is None for runner in runners)
    assert (watcher.steps, watcher.total) == (3 * COUNT, 3 * COUNT)


def test_progress_and_warnings(tmp_path: Path, images: Path) -> None:
    watcher = Counting()
    own = artefact(tmp_path)

    calibrate(own, opened(own, images), MINMAX, watcher)

    assert (watcher.steps, watcher.total) == (COUNT, COUNT)
    (warning,) = watcher.warnings
    assert "5 images are few" in warning


def test_a_tensor_of_zeros_is_warned_of(tmp_path: Path, images: Path) -> None:
    model = products()
    for weight in model.graph.initializer:
        if weight.name == "bias":
            weight.CopyFrom(onnx.numpy_helper.from_array(np.full(4, -1e6, np.float32), "bias"))
    own, silent = artefact(tmp_path, model), SilentProgress()

    ranges = calibrate(own, opened(own, images), MINMAX, silent)

    assert "zero on every image: tokens, mixed, turned, scores" in silent.warnings
    assert all(amax > 0 for amax in ranges.amax.values())


def test_noise_is_marked_and_warned_of(tmp_path: Path) -> None:
    noise = CalibrationOptions(samples=2, random_data=True)
    silent = SilentProgress()

    _, ranges = calibrate_artefact(artefact(tmp_path), None, noise, tmp_path / "calib", silent)

    assert ranges.random_data
    (warning,) = silent.warnings
    assert "noise" in warning


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16, Precision.INT8])
def test_only_float32_graphs_are_measured(
    tmp_path: Path, images: Path, precision: Precision
) -> None:
    own = artefact(tmp_path, precision=precision)
    sources = (Source("onnx", "parent.onnx", "aa"), Source("checkpoint", "w.pth", "bb"))
    child = Artefact(own.path, replace(own.manifest, sources=sources))

    with pytest.raises(ArtefactError, match=f"is a {precision} graph") as caught:
        calibrate_artefact(child, images, MINMAX, tmp_path / "calib", SilentProgress())

    assert "calibrate the fp32 graph parent.onnx" in caught.value.hint


def test_onnxruntimes_own_calibrator_finds_the_same_maxima(
    tmp_path: Path, images: Path
) -> None:
    from onnxruntime.quantization.calibrate import CalibrationDataReader, MinMaxCalibrater

    own = artefact(tmp_path, batch=1)
    prepared = [prepare(image, own.manifest.preparation) for image in pixels(COUNT)]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(prepared)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.rest, None)
            return None if image is None else {"image": image}

    theirs = MinMaxCalibrater(
        own.path, ["MatMul", "Conv"], augmented_model_path=str(tmp_path / "augmented.onnx")
    )
    theirs.augment_graph()
    theirs.create_inference_session()
    theirs.collect_data(Reader())
    found = theirs.compute_data().data

    for name, amax in ranges_from(collected(own, images), MINMAX).items():
        low, high = found[name].range_value
        assert amax == pytest.approx(max(-low.item(), high.item()), rel=1e-4), name
