"""A backbone alone is a graph of four feature maps, verified like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command_line import TINY, Run
from support.networks import TINY as VARIANT
from support.networks import tiny

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.parity.gates import GATES
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import (
    ExportOptions,
    ImageSize,
    InputFormat,
    OutputFormat,
    Precision,
    Task,
)
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

NAMES = ["features_1", "features_2", "features_3", "features_4"]
SHAPES = [(8, 16, 24), (16, 8, 12), (32, 4, 6), (48, 2, 3)]
SIZE = ImageSize(64, 96)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone as trainers save it: under its prefix, without a head."""
    path = tmp_path_factory.mktemp("backbone") / "backbone.pth"
    state = tiny(Task.SEGMENT).state_dict()
    torch.save(
        {"state_dict": {n: t for n, t in state.items() if n.startswith("backbone.")}}, path
    )
    return path


@pytest.fixture(scope="session")
def made(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its graph; copy it before changing it."""
    folder = tmp_path_factory.mktemp("features")
    trained = stages.load(NetworkSpec(VARIANT, checkpoint=weights), SilentProgress())
    images = ImageSource(limit=2)
    return stages.export(trained, ExportOptions(SIZE), folder, images, SilentProgress()).path


@pytest.fixture
def features(made: Path, folder: Path) -> Path:
    (folder / "export").mkdir()
    for suffix in (".onnx", ".json"):
        shutil.copy(made.with_suffix(suffix), folder / "export")
    return Path("export") / made.name


def test_the_graph_returns_the_four_maps_of_the_backbone(made: Path) -> None:
    manifest = open_artefact(made).manifest
    assert made.name == "hrvit-tiny-features-64x96.onnx"
    assert manifest.output_format is OutputFormat.FEATURES
    assert [info.name for info in manifest.outputs] == NAMES
    assert [info.shape for info in manifest.outputs] == [(1, *shape) for shape in SHAPES]
    assert manifest.parity is not None
    assert manifest.parity.passed
    assert "agreement" not in manifest.parity.gates

    image = np.random.default_rng(3).standard_normal((1, 3, *SIZE)).astype(np.float32)
    with OnnxRuntimeRunner(made) as runner:
        outputs = runner.run({"image": image})
    network = tiny(Task.SEGMENT)
    with torch.no_grad():
        expected = network.backbone.extract(torch.from_numpy(image))  # type: ignore[union-attr,operator]
    for name, theirs in zip(NAMES, expected, strict=True):
        assert np.abs(outputs[name] - theirs.numpy()).max() < 1e-4 * float(theirs.std())


@pytest.mark.slow
def test_other_types_batches_and_inputs_pass_too(weights: Path, tmp_path: Path) -> None:
    trained = stages.load(NetworkSpec(VARIANT, checkpoint=weights), SilentProgress())
    options = ExportOptions(
        SIZE,
        batch=None,
        precision=Precision.FP16,
        input_format=InputFormat.UINT8_NHWC,
        half_io=True,
    )
    # Random weights come near the gates of float16, which is not what is looked at here.
    made = stages.export(
        trained,
        options,
        tmp_path,
        ImageSource(limit=3),
        SilentProgress(),
        gates=GATES[Precision.BF16],
    )
    assert made.manifest.parity is not None
    assert made.manifest.parity.passed
    assert {(info.shape[0], info.dtype) for info in made.manifest.outputs} == {
        ("batch", "float16")
    }


def test_a_head_is_left_out_where_features_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    torch.save(tiny(Task.CLASSIFY).state_dict(), path)
    trained = stages.load(NetworkSpec(VARIANT, Task.FEATURES, path), SilentProgress())
    assert trained.described.task is Task.FEATURES
    assert trained.described.num_classes == 0
    state = trained.network.state_dict()
    expected = tiny(Task.CLASSIFY).state_dict()
    assert state.keys() == {name for name in expected if not name.startswith("head.")}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_a_foreign_head_asks_for_features(run: Run, folder: Path) -> None:
    state = {n: t for n, t in tiny(Task.SEGMENT).state_dict().items() if "decode" not in n}
    state |= {"decode_head.linear_fuse.conv.weight": torch.zeros(1)}
    torch.save(state, folder / "segformer.pth")
    ran = run("export", "--variant", str(TINY), "--checkpoint", "segformer.pth")
    assert ran.code == 1
    assert "has a head that is SegFormer (of its own repository)'s" in ran.err
    assert "--task features" in ran.err


def test_verify_and_inspect_take_it(run: Run, features: Path, weights: Path) -> None:
    ran = run("verify", str(features), "--samples", "1", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["passed"] is True
    assert ran.json["class_agreement"] is None
    text = run("inspect", str(features)).out
    assert "HRViT-tiny without a head" in text
    for name in NAMES:
        assert name in text


@pytest.mark.parametrize("beyond", [0, 1, 2, 3])
def test_a_map_that_is_off_fails_by_its_name(
    features: Path, beyond: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Maps differ in scale: a small one must not hide behind a large one's deviation.
    run = OnnxRuntimeRunner.run

    def off(self: OnnxRuntimeRunner, inputs: dict[str, object]) -> dict[str, object]:
        outputs = run(self, inputs)
        outputs[NAMES[beyond]] = outputs[NAMES[beyond]] * 1.02
        return outputs  # type: ignore[return-value]

    monkeypatch.setattr(OnnxRuntimeRunner, "run", off)
    parity = stages.measure_parity(
        open_artefact(features), None, ImageSource(limit=1), SilentProgress()
    )
    assert not parity.passed
    assert parity.note.startswith(f"{NAMES[beyond]}: max_abs")
    assert parity.note.count("features_") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--data", "."),
        ("predict", "photo.png"),
        ("quantize",),
        ("embed", "--as", "python"),
        ("embed", "--as", "triton"),
        ("embed", "--as", "cpp"),
    ],
)
def test_what_needs_a_decision_refuses_in_one_line(
    run: Run, features: Path, folder: Path, command: tuple[str, ...]
) -> None:
    before = sorted(folder.rglob("*"))
    ran = run(command[0], str(features), *command[1:])
    assert ran.code == 1
    assert ran.err.startswith("error: HRViT-tiny returns feature maps, and decides nothing")
    assert len(ran.err.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before


def test_other_outputs_are_refused(run: Run, weights: Path) -> None:
    ran = run(
        *("export", "--variant", str(TINY), "--checkpoint", str(weights)),
        *("--output", "classmap", "--size", "64x96"),
    )
    assert ran.code == 2
    assert "a features network has no output classmap; choose features" in ran.err
