"""Triton itself serves what is embedded, and answers as the package does."""

from __future__ import annotations

import io
import json
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.labelled import picture
from support.small_artefacts import artefact
from support.triton_server import Triton

from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.classes import choose_classes
from hrvit_deploy.embed.triton.repository import embed_triton
from hrvit_deploy.embed.triton.serving import TritonOptions
from hrvit_deploy.images import NamedImage
from hrvit_deploy.inference.fit import FitOptions
from hrvit_deploy.inference.overlay import index_image
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.options import ImageSize, OutputFormat
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

pytestmark = pytest.mark.slow
MAX_BATCH = 4


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return artefact(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def segmenter(exported: Path) -> Artefact:
    (path,) = (exported / "export").glob("*.onnx")
    return open_artefact(path)


@pytest.fixture(scope="module")
def triton(
    classifier: Artefact, segmenter: Artefact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("triton")
    options = TritonOptions(max_batch=MAX_BATCH, delay_us=500_000)
    made = [
        embed_triton(classifier, folder / "classifier", options),
        embed_triton(segmenter, folder / "segmenter"),
    ]
    with Triton(made, folder) as server:
        yield server


def jpeg(seed: int, height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(seed, height, width)).save(file, "JPEG")
    return file.getvalue()


def pixels_of(content: bytes) -> NamedImage:
    return NamedImage("", np.asarray(Image.open(io.BytesIO(content))))


def test_probabilities_are_the_packages(triton: Triton, classifier: Artefact) -> None:
    contents = [jpeg(seed, 40 + seed, 60) for seed in range(3)]

    _, answer = triton.infer("small-images", contents, "probabilities")

    with OnnxRuntimeRunner(classifier.path) as runner:
        side = PreparedRunner(
            runner, classifier.manifest.preparation, OutputFormat.LOGITS, batch=3
        )
        images = [pixels_of(content) for content in contents]
        expected = np.stack(list(probabilities(side, images, FitOptions())))
    np.testing.assert_array_equal(np.frombuffer(answer, np.float32).reshape(3, 3), expected)


def test_label_maps_are_the_packages(triton: Triton, segmenter: Artefact) -> None:
    content = jpeg(3, 70, 50)

    name = f"{segmenter.path.stem}-images"
    _, answer = triton.infer(name, [content], "label_map", batched=False)

    with OnnxRuntimeRunner(segmenter.path) as runner:
        side = PreparedRunner(runner, segmenter.manifest.preparation, OutputFormat.LOGITS)
        (labels,) = label_maps(side, [pixels_of(content)], [ImageSize(70, 50)], FitOptions(), 5)
    expected = index_image(labels, choose_classes(segmenter.manifest.network))
    found = Image.open(io.BytesIO(answer[4:]))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_clients_may_ask_for_the_best_classes_by_name(triton: Triton) -> None:
    head, answer = triton.infer(
        "small-images", [jpeg(0, 40, 40)], "probabilities", classification=2
    )
    assert head["outputs"][0]["shape"] == [1, 2]
    length = int.from_bytes(answer[:4], "little")
    first, second = (
        text.decode().split(":") for text in (answer[4 : 4 + length], answer[8 + length :])
    )
    assert float(first[0]) > float(second[0])
    assert all(index == name and int(index) < 3 for _, index, name in (first, second))


def test_requests_share_runs(triton: Triton) -> None:
    warm_ups = triton.log.read_text().count(f"run of {MAX_BATCH}\n")
    assert warm_ups == 1
    with ThreadPoolExecutor(MAX_BATCH) as pool:
        content = jpeg(0, 40, 40)
        ask = lambda _: triton.infer("small-images", [content], "probabilities")[1]  # noqa: E731
        answers = list(pool.map(ask, range(MAX_BATCH)))
    assert len(set(answers)) == 1
    runs = triton.log.read_text().partition("Started HTTPService")[2]
    assert max(int(line[7:]) for line in runs.splitlines() if line.startswith("run of ")) > 1


def test_a_broken_image_is_told_to_its_client(triton: Triton) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        triton.infer("small-images", [jpeg(0, 40, 40), b"no image"], "probabilities")
    assert refusal.value.code == 400
    assert "image 2 of 2 (8 bytes) is no image" in json.load(refusal.value)["error"]
