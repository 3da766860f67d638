"""A session answers as ``predict`` does, for everybody who asks, and says what it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from support import serving, small_artefacts
from support.fake_cuda import FakeRuntime
from support.fake_tensorrt import Runtime, fake_tensorrt
from support.serving import CLASSES, SIDE, pictures

import hrvit_deploy
from hrvit_deploy import Session
from hrvit_deploy.artefact import Artefact, record, sha256_of
from hrvit_deploy.bindings.cuda_ import Cuda
from hrvit_deploy.errors import ArtefactError, InputError, RunnerError, UsageError
from hrvit_deploy.images import load_image
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.predict import PredictOptions, predict_images
from hrvit_deploy.options import ImageSize, Precision, Task
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.spec import Provider, RunOptions

RUNTIMES = ["cpu", "openvino"]
RGB = np.zeros((8, 9, 3), np.uint8)


@pytest.fixture
def segmenter(tmp_path: Path) -> Artefact:
    return serving.segmenter(tmp_path)


def load(artefact: Artefact, **options: Any) -> Session:
    return hrvit_deploy.load(artefact.path, threads=1, **options)


def tensors(count: int, seed: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


FITS = [
    FitOptions(),
    FitOptions(Fit.PAD, flip=True),
    FitOptions(Fit.SLIDE, ImageSize(16, 16), scales=(1.0, 1.5)),
]


@pytest.mark.parametrize("fit", FITS, ids=["stretch", "pad", "slide"])
@pytest.mark.parametrize("batch", ["batch", 1, 2])
def test_answers_are_those_of_predict(
    tmp_path: Path, fit: FitOptions, batch: int | str
) -> None:
    artefact = serving.segmenter(tmp_path, batch=batch)
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, pixels in zip(paths, pictures(3), strict=True):
        Image.fromarray(pixels).save(path)
    with load(artefact, fit=fit) as session:
        answers = session(paths)
    options = PredictOptions(fit=fit, out=tmp_path / "out")
    run = RunOptions(threads=1)
    made = predict_images(artefact, paths, options, SilentProgress(), run=run).made
    for labels, pixels, prediction in zip(answers, pictures(3), made, strict=True):
        assert labels.dtype == np.int32
        assert labels.shape == pixels.shape[:2]
        assert prediction.labels is not None
        np.testing.assert_array_equal(labels, np.asarray(Image.open(prediction.labels)))
        assert len(np.unique(labels)) > 1


@pytest.mark.parametrize("provider", RUNTIMES)
def test_a_classifier_answers_with_probabilities(tmp_path: Path, provider: str) -> None:
    artefact = small_artefacts.artefact(tmp_path)
    with load(artefact, provider=provider) as session:
        shares = session(pictures(1)[0])
        assert (session.task, session.batch) == (Task.CLASSIFY, None)
        assert session.classes.names == ("0", "1", "2")
    assert (shares.shape, shares.dtype) == ((3,), np.float32)
    assert shares.sum() == pytest.approx(1)
    made = predict_images(
        artefact,
        [save(tmp_path / "a.png", pictures(1)[0])],
        PredictOptions(out=tmp_path),
        SilentProgress(),
        run=RunOptions(Provider(provider)),
    ).made
    likeliest = {likely.index: likely.probability for likely in made[0].likeliest}
    for index, share in likeliest.items():
        assert shares[index] == pytest.approx(share, abs=1e-6)


def save(path: Path, pixels: Any) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_an_image_may_come_in_any_guise(segmenter: Artefact, tmp_path: Path) -> None:
    pixels = pictures(1)[0]
    path = save(tmp_path / "a.png", pixels)
    with load(segmenter) as session:
        expected = session(pixels)
        for given in (path, str(path), Image.open(path), pixels[::-1][::-1]):
            np.testing.assert_array_equal(session(given), expected)
        for several in ([pixels, path], (pixels, path), np.stack([pixels, pixels])):
            answers = session(several)
            assert isinstance(answers, list)
            assert len(answers) == 2
            for answer in answers:
                np.testing.assert_array_equal(answer, expected)
        # Pillow's pictures become RGB as files do.
        clear = Image.fromarray(pixels).convert("LA")
        clear.save(tmp_path / "grey.png")
        np.testing.assert_array_equal(
            session(clear), session(load_image(tmp_path / "grey.png"))
        )


def test_errors_may_stand_among_the_answers(segmenter: Artefact, tmp_path: Path) -> None:
    """An image that cannot be used costs the others nothing, where that is asked for."""
    pixels = pictures(1)[0]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and no more")
    given = [broken, pixels, None, pixels]
    with load(segmenter) as session:
        expected = session(pixels)
        answers = session(given, return_errors=True)
        assert [isinstance(answer, InputError) for answer in answers] == [True, False] * 2
        for answer in answers[1::2]:
            np.testing.assert_array_equal(answer, expected)
        with pytest.raises(InputError, match=r"broken\.jpg"):
            session(given)


@pytest.mark.parametrize(("batch", "runs"), [("batch", [3, 3, 1]), (2, [2, 2, 2, 2])])
def test_images_share_runs(
    tmp_path: Path, batch: int | str, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = serving.segmenter(tmp_path, batch=batch)
    with load(artefact, largest_batch=3) as session:
        seen = []
        real = session._runner.run

        def run(inputs: Any) -> Any:
            seen.append(len(inputs["image"]))
            return real(inputs)

        monkeypatch.setattr(session._runner, "run", run)
        answers = session(pictures(7))
        assert seen == runs
        assert session.batch == (batch if isinstance(batch, int) else None)
    assert [labels.shape for labels in answers] == [image.shape[:2] for image in pictures(7)]


@pytest.mark.parametrize(
    ("given", "says", "mend"),
    [
        (RGB[..., 0], "the image is grey (8 x 9), the network takes RGB", "np.repeat"),
        (np.zeros((8, 9, 4), np.uint8), "of four channels (8 x 9 x 4)", "[..., :3]"),
        (RGB.transpose(2, 0, 1), "of shape 3 x 8 x 9", "transpose(1, 2, 0)"),
        (np.zeros((8, 9, 1), np.uint8), "of shape 8 x 9 x 1", "H x W x 3"),
        (np.zeros((0, 9, 3), np.uint8), "of shape 0 x 9 x 3", "H x W x 3"),
        (np.zeros(3, np.uint8), "of shape 3", "H x W x 3"),
        (RGB.astype(np.float32) / 255, "of type float32", "* 255"),
        (RGB.astype(np.int64), "of type int64", "uint8"),
        (Image.new("RGB", (0, 4)), "the image has no pixels: (0, 4)", "H x W x 3"),
        (b"\x89PNG", "the image is a bytes", "paths or Pillow images"),
        (None, "the image is a NoneType", "paths or Pillow images"),
        ([], "there is no image to answer", "H x W x 3"),
        (np.zeros((0, 8, 9, 3), np.uint8), "there is no image to answer", "H x W x 3"),
        ([RGB, RGB[..., 0]], "image 1 is grey", "np.repeat"),
        ([[RGB]], "image 0 is a list", "H x W x 3"),
        (np.zeros((2, 8, 9, 3)), "image 0 is of type float64", "* 255"),
        ("gone.png", "there is no image gone.png", "check the path"),
    ],
)
def test_what_is_no_image_is_refused(
    segmenter: Artefact, given: Any, says: str, mend: str
) -> None:
    with load(segmenter) as session:
        with pytest.raises(InputError) as caught:
            session(given)
        assert says in caught.value.message
        assert mend in caught.value.hint
        assert "\n" not in caught.value.message + caught.value.hint
        assert session(RGB).shape == (8, 9)  # and it still answers


def test_broken_pictures_are_refused(segmenter: Artefact, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", pictures(1)[0])
    path.write_bytes(path.read_bytes()[:-200])
    with load(segmenter) as session:
        for given in (Image.open(path), path):
            with pytest.raises(InputError, match="cannot be decoded"):
                session(given)


@pytest.mark.parametrize("provider", RUNTIMES)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image": tensors(1)[:, :2]}, "shape 1 x 2 x 32 x 32, the graph takes"),
        ({"image": tensors(0)}, "shape 0 x 3 x 32 x 32"),
        ({"image": tensors(1).astype(np.float64)}, "type float64, the graph takes float32"),
        ({"pictures": tensors(1)}, "inputs are named pictures"),
        ({"image": [1.0]}, "image is a list"),
        ({"image": np.full_like(tensors(1), np.nan)}, "image holds values that are NaN"),
        ({"image": np.full_like(tensors(1), -np.inf)}, "NaN or infinite"),
        (tensors(1), "tensors are a ndarray"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    segmenter: Artefact, provider: str, given: Any, says: str
) -> None:
    with load(segmenter, provider=provider) as session:
        with pytest.raises(RunnerError) as caught:
            session.run(given)
        assert says in caught.value.message
        assert caught.value.hint
        with pytest.raises(RunnerError, match="answers on the host alone"):
            session.run({"image": tensors(1)}, on_device=True)
        logits = session.run({"image": tensors(2)})["logits"]
    assert logits.shape == (2, CLASSES, SIDE, SIDE)


@pytest.mark.parametrize("provider", RUNTIMES)
def test_closed_is_closed(segmenter: Artefact, provider: str) -> None:
    session = load(segmenter, provider=provider)
    session.close()
    session.close()
    for use in (lambda: session(RGB), lambda: session.run({"image": tensors(1)})):
        with pytest.raises(RunnerError, match=r"the .*-cpu session is closed") as caught:
            use()
        assert caught.value.hint == "load another one"


@pytest.mark.parametrize("provider", RUNTIMES)
@pytest.mark.parametrize("concurrency", [None, 2])
def test_eight_threads_get_the_answers_of_one(
    segmenter: Artefact, provider: str, concurrency: int | None
) -> None:
    images = pictures(5)
    with load(segmenter, provider=provider, concurrency=concurrency) as session:
        alone = [session(image) for image in images]
        with ThreadPoolExecutor(8) as pool:
            beside = list(pool.map(lambda turn: session(images[turn % 5]), range(160)))
    for turn, answer in enumerate(beside):
        np.testing.assert_array_equal(answer, alone[turn % 5])


def test_both_runtimes_answer_alike(segmenter: Artefact) -> None:
    with load(segmenter) as ours, load(segmenter, provider="openvino") as theirs:
        assert (ours.name, theirs.name) == ("onnxruntime-cpu", "openvino-cpu")
        for image in pictures(3):
            assert (ours(image) == theirs(image)).mean() > 0.999


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_pixel_without_a_finite_score_has_no_class(tmp_path: Path) -> None:
    artefact = serving.segmenter(tmp_path)
    mixed = onnx.load(artefact.path)
    weights = onnx.numpy_helper.from_array(np.full_like(serving.MIX, np.inf), "mix")
    mixed.graph.initializer[0].CopyFrom(weights)
    onnx.save(mixed, artefact.path)
    record(artefact, sha256=sha256_of(artefact.path))
    with load(artefact) as session:
        assert (session(RGB) == -1).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"provider": "gpu"}, "'gpu' is no choice"),
        ({"inference_precision": "f16"}, "'f16' is no choice"),
        ({"threads": 0}, "0 threads"),
        ({"concurrency": 0}, "0 runs at a time"),
        ({"largest_batch": 0}, "a batch of at most 0"),
        ({"fit": FitOptions(Fit.SLIDE), "whole": True}, "not windows of them"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    options = dict(options)
    make = small_artefacts.artefact if options.pop("whole", False) else serving.segmenter
    with pytest.raises(UsageError, match=says):
        hrvit_deploy.load(make(tmp_path).path, **options)


def test_an_artefact_is_checked_before_it_is_opened(segmenter: Artefact) -> None:
    with pytest.raises(InputError, match="names 150 classes"):
        load(segmenter, classes="ade20k")
    with pytest.raises(ArtefactError, match="there is no"):
        hrvit_deploy.load("gone.onnx")
    segmenter.path.write_bytes(b"another")
    with pytest.raises(ArtefactError, match="SHA-256 differs"):
        load(segmenter)


def test_graphs_that_onnxruntime_cannot_run_say_what_can(segmenter: Artefact) -> None:
    model = onnx.load(segmenter.path)
    model.opset_import[0].version = 99
    onnx.save(model, segmenter.path)
    graph = segmenter.manifest.graph
    assert graph is not None
    digest = sha256_of(segmenter.path)
    newer = record(segmenter, sha256=digest, graph=replace(graph, opset=99))
    with pytest.raises(RunnerError, match="opset 99 is newer than this onnxruntime") as caught:
        load(newer)
    assert "provider='openvino'" in caught.value.hint
    assert "--opset 22" in caught.value.hint
    narrow = record(newer, graph=graph, precision=Precision.BF16)
    with pytest.raises(RunnerError, match="is in bfloat16") as caught:
        load(narrow)
    assert "provider='openvino'" in caught.value.hint


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    cuda = FakeRuntime()
    monkeypatch.setattr("hrvit_deploy.bindings.tensorrt_.load", lambda backend: fake_tensorrt())
    monkeypatch.setattr("hrvit_deploy.runners.tensorrt.runner.Cuda", lambda: Cuda(cuda))
    return cuda


def test_a_plan_answers_eight_threads(tmp_path: Path, fake_gpu: FakeRuntime) -> None:
    images = pictures(5)
    with hrvit_deploy.load(serving.plan(tmp_path).path) as session:
        assert (session.name, session.batch) == ("tensorrt", None)
        alone = [session(image) for image in images]
        # The stand-in returns the image: its brightest channel wins.
        assert len(np.unique(alone[0])) == 3
        together = session(images)
        with ThreadPoolExecutor(8) as pool:
            beside = list(pool.map(lambda turn: session(images[turn % 5]), range(80)))
        for turn, answer in enumerate(beside):
            np.testing.assert_array_equal(answer, alone[turn % 5])
        for answer, expected in zip(together, alone, strict=True):
            np.testing.assert_array_equal(answer, expected)
        assert fake_gpu.launched, "what runs again is a CUDA graph"
        # Five images, four at once at most, as the plan's profile has it.
        assert Runtime.last is not None
        assert {shapes[0] for c in Runtime.last.contexts for shapes in c.shapes} == {4, 1}
        raw = session.run({"images": np.ones((2, 3, 4, 4), np.float32)}, on_device=True)
        np.testing.assert_array_equal(raw["logits"].numpy(), np.full((2, 3, 4, 4), 2))
        with pytest.raises(RunnerError, match=r"is float32 \(9, 3, 4, 4\), the plan takes"):
            session.run({"images": np.ones((9, 3, 4, 4), np.float32)})
        with pytest.raises(RunnerError, match="NaN or infinite"):
            session.run({"images": np.full((1, 3, 4, 4), np.nan, np.float32)})
    del raw
    assert not fake_gpu.live
    with pytest.raises(UsageError, match="a plan runs in TensorRT alone"):
        hrvit_deploy.load(serving.plan(tmp_path).path, provider="cpu")


LEAK = """
import json, sys
import numpy as np
import hrvit_deploy

def resident_kib():
    with open("/proc/self/smaps_rollup") as told:
        return int(next(line for line in told if line.startswith("Rss:")).split()[1])

image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
with hrvit_deploy.load(sys.argv[1], threads=1) as session:
    for _ in range(1000):
        session(image)
    before = resident_kib()
    for _ in range(10_000):
        session(image)
    print(json.dumps(resident_kib() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_ten_thousand_calls_leak_nothing(segmenter: Artefact) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAK, str(segmenter.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    # Forgetting the smallest array of each call, 64 x 48 labels, would make 120 MB.
    assert json.loads(done.stdout) < 4096


ALONE = """
import sys
import numpy as np
import hrvit_deploy

with hrvit_deploy.load(sys.argv[1], provider=sys.argv[2]) as session:
    session(np.zeros((8, 9, 3), np.uint8))
names = {name.partition(".")[0] for name in sys.modules}
print(*sorted(names & {"torch", "onnx", "onnxruntime", "openvino", "matplotlib", "sklearn",
                       "typer", "rich", "ml_dtypes", "safetensors", "scipy"}))
"""


@pytest.mark.parametrize(
    ("provider", "loaded"), [("cpu", "onnxruntime"), ("openvino", "openvino")]
)
def test_nothing_is_imported_but_the_runtime(
    segmenter: Artefact, provider: str, loaded: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(segmenter.path), provider],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [loaded]
