"""The TensorRT backend, over stand-ins for TensorRT and CUDA that run on any machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import small_artefacts
from support.cpp_probe import Probe

from hrvit_deploy.artefact import (
    Artefact,
    Engine,
    Kind,
    Network,
    Preparation,
    TensorInfo,
    Weights,
    record,
    sha256_of,
)
from hrvit_deploy.bindings.dtypes import numpy_type
from hrvit_deploy.images import Pixels, prepare
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Task
from hrvit_deploy.standalone.postprocess import WholeScoreMap, label_map

pytest_plugins = ["support.cpp_fixtures"]

SIZE = ImageSize(32, 64)
PREPARATION = Preparation(SIZE)
ENGINE = Engine(
    backend="tensorrt",
    version="10.16.1.11",
    layers={},
    products={},
    weight_bytes=0,
    build_seconds=1.0,
    compute_capabilities=("8.9",),
)
TYPES = {"float": "float32", "half": "float16", "bf16": "bfloat16", "uint8": "uint8"}


def plan(
    folder: Path,
    kind: str = "float",
    *flags: str,
    batch: int | str = 1,
    options: dict[str, Any] | None = None,
    **engine: Any,
) -> Artefact:
    """A plan that doubles colours, or finds the brightest one; see stand_ins.cpp."""
    dtype = TYPES[kind]
    taken = InputFormat.UINT8_NHWC if kind == "uint8" else InputFormat.FLOAT_NCHW
    planes, pixels = (batch, 3, *SIZE), (batch, *SIZE, 3)
    image = TensorInfo("image", pixels if kind == "uint8" else planes, dtype, "")
    logits = TensorInfo("logits", (batch, *SIZE) if kind == "uint8" else planes, dtype, "")
    made = small_artefacts.artefact(
        folder,
        kind=Kind.PLAN,
        network=Network(VARIANTS["b1"], Task.SEGMENT, 3, Weights.RANDOM),
        inputs=(image,),
        outputs=(logits,),
        output_format=OutputFormat.CLASSMAP if kind == "uint8" else OutputFormat.LOGITS,
        preparation=Preparation(SIZE, taken),
        engine=replace(ENGINE, **engine),
        graph=None,
        options=options or {},
    )
    path = made.path.with_suffix(".plan")
    wide = -1 if batch == "batch" else batch
    path.write_text(f"{wide} {SIZE.height} {SIZE.width} {kind} {' '.join(flags)}")
    return record(replace(made, path=path), sha256=sha256_of(path))


def pictures(count: int) -> list[Pixels]:
    generator = np.random.default_rng(count)
    shape = (count, 45, 50, 3)
    return list(generator.integers(0, 256, shape, dtype=np.uint8))


def expected(pixels: Pixels, kind: str) -> Any:
    dtype = numpy_type(TYPES[kind])
    size = ImageSize(*pixels.shape[:2])
    if kind == "uint8":
        prepared = prepare(pixels, Preparation(SIZE, InputFormat.UINT8_NHWC))[0]
        votes = (prepared.argmax(axis=2)[None] == np.arange(3)[:, None, None]) * np.float32(1)
        return label_map([WholeScoreMap(votes)], size, votes=True)
    rounded = prepare(pixels, PREPARATION, TYPES[kind])
    scores = (rounded.astype(np.float32) * 2).astype(dtype).astype(np.float32)
    return label_map([WholeScoreMap(scores[0])], size)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("batch", [1, 2, "batch"])
def test_plans_of_every_type_are_run(
    probe: Probe, tmp_path: Path, kind: str, batch: int | str
) -> None:
    images = pictures(5)
    made = plan(tmp_path, kind, batch=batch)
    given = 4 if batch == "batch" else 0
    labels = probe.array("answer", made.path, "stretch", given, *probe.images(images))
    wanted = np.concatenate([expected(image, kind).ravel() for image in images])
    np.testing.assert_array_equal(labels, wanted)


def test_usual_batch_of_a_profile_is_taken(probe: Probe, tmp_path: Path) -> None:
    # One more than the stand-in's largest tells that it was taken.
    profile = {"profile": {"min": 1, "opt": 5, "max": 8}}
    made = plan(tmp_path, batch="batch", options=profile)
    line = probe.error(*answer(probe, made, 5))
    assert line.startswith("RunnerError: a batch of 5 is more than the 4 the plan takes")


def test_threads_share_contexts(probe: Probe, tmp_path: Path) -> None:
    made = plan(tmp_path, "half")
    for parallel in (1, 3):
        words = ("share", made.path, 8, 20, parallel, *probe.images(pictures(1)))
        assert int(probe.text(*words)) == 160


def answer(probe: Probe, made: Artefact, count: int = 1) -> tuple[Any, ...]:
    images = probe.images(pictures(count))
    return ("answer", probe.folder / "answer.raw", made.path, "stretch", 0, *images)


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "version": (
        {"version": "10.13.3.9"},
        (
            "ArtefactError: {path} was built by TensorRT 10.13.3.9, 10.16.1.11 is linked here;"
            " run hrvit-deploy build-trt again on this machine, or build hrvit with that"
            " version"
        ),
    ),
    "library": (
        {"backend": "tensorrt-rtx", "version": "1.7.1.116"},
        "MissingDependency: {path} is a plan of TensorRT-RTX, this build is linked to",
    ),
    "gpu": (
        {"compute_capabilities": ("8.0", "9.0+")},
        (
            "ArtefactError: {path} runs on compute capability 8.0, 9.0+, and the stand-in GPU"
            " here has 8.9; run hrvit-deploy build-trt again"
        ),
    ),
    "stripped": (
        {"options": {"strip_weights": True}},
        "ArtefactError: {path} was built without its weights; refit it first",
    ),
    "code": (
        {"options": {"version_compatible": True}, "version": "10.13.0.35"},
        "ArtefactError: {path} is version compatible: it carries code that would run here",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_plans_that_do_not_fit_are_refused(probe: Probe, tmp_path: Path, case: str) -> None:
    changes, message = UNFIT[case]
    made = plan(tmp_path, **changes)
    assert probe.error(*answer(probe, made)).startswith(message.format(path=made.path))


@pytest.mark.parametrize("listed", [("8.6", "8.9"), ("8.0+",), ()])
def test_plans_run_on_the_gpus_they_list(
    probe: Probe, tmp_path: Path, listed: tuple[str, ...]
) -> None:
    made = plan(tmp_path, compute_capabilities=listed)
    assert probe.array(*answer(probe, made)[:1], *answer(probe, made)[2:]).size == 45 * 50


FAILING = {
    "broken": "RunnerError: cannot open {path}: magic tag does not match; build the plan again",
    "cramped": "RunnerError: cannot make room to run the plan: the library gave no reason",
    "refuses": "RunnerError: input image does not take its own profile's largest shape",
    "fails": "RunnerError: could not run the plan: the GPU is on fire; build the plan again",
}


@pytest.mark.parametrize("flag", FAILING)
def test_what_the_library_says_is_told(probe: Probe, tmp_path: Path, flag: str) -> None:
    made = plan(tmp_path, "float", flag)
    assert probe.error(*answer(probe, made)).startswith(FAILING[flag].format(path=made.path))


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (
            "STAND_IN_NO_GPU",
            (
                "RunnerError: CUDA could not count GPUs: no CUDA-capable device is"
                " detected; run on a machine with an NVIDIA GPU and a driver for this CUDA"
            ),
        ),
        (
            "STAND_IN_FULL_GPU",
            (
                "RunnerError: CUDA could not allocate 24576 bytes on the GPU: out of"
                " memory; free GPU memory, or take fewer runs at once or a smaller batch"
            ),
        ),
    ],
)
def test_gpu_that_is_missing_or_full_is_told(
    probe: Probe, tmp_path: Path, variable: str, message: str
) -> None:
    made = plan(tmp_path)
    assert probe.error(*answer(probe, made), env={variable: "1"}) == message


def test_names_must_be_the_plans(probe: Probe, tmp_path: Path) -> None:
    made = plan(tmp_path)
    renamed = replace(made.manifest.inputs[0], name="picture")
    record(made, inputs=(renamed,))
    line = probe.error(*answer(probe, made))
    assert line.startswith(
        "RunnerError: the plan does not take picture alone and return logits"
    )


def test_infer_refuses_code_unless_told(infer: Any, tmp_path: Path) -> None:
    from PIL import Image

    made = plan(tmp_path, options={"version_compatible": True}, version="10.13.0.35")
    picture = tmp_path / "picture.png"
    Image.fromarray(pictures(1)[0]).save(picture)
    words = (made.path, picture, "--out", tmp_path / "out", "--repeat", 1)
    assert infer(*words).code == 1
    ran = infer(*words, "--allow-code")
    assert ran.code == 0, ran.err
    assert "in tensorrt" in ran.out
