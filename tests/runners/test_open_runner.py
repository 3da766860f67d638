"""A candidate opens as what it is, and what moved or changed is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from support.graph_making import SIZE, floats
from support.networks import CLASSES, TINY, answer, tiny

from hrvit_deploy import graphs
from hrvit_deploy.artefact import Artefact, Source, Weights, open_artefact, record, sha256_of
from hrvit_deploy.errors import ArtefactError, CheckpointError
from hrvit_deploy.export.stage import cast_artefact
from hrvit_deploy.model.network import build_network, set_random_weights
from hrvit_deploy.options import (
    ONNXRUNTIME_OPSET,
    InputFormat,
    OutputFormat,
    Precision,
    Task,
)
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.open import open_runner, runnable_graph
from hrvit_deploy.runners.reference import reference_network
from hrvit_deploy.runners.rounding import round_everywhere
from hrvit_deploy.runners.spec import Implementation, Provider, RunnerSpec, RunOptions
from hrvit_deploy.runners.torch_ import CompiledRunner, EagerRunner

IMAGE = floats(1, 3, *SIZE)


@pytest.fixture
def segmenter(exported: Path, tmp_path: Path) -> Artefact:
    """The tiny segmenter's graph, to do with as one likes."""
    folder = shutil.copytree(exported / "export", tmp_path / "export")
    (path,) = folder.glob("*.onnx")
    return open_artefact(path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of a segmenter, other than the random ones."""
    network = build_network(TINY, Task.SEGMENT, CLASSES)
    set_random_weights(network, 7)
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def trained(segmenter: Artefact, checkpoint: Path) -> Artefact:
    """The graph with a sidecar that says it came from the checkpoint."""
    return record(
        segmenter,
        network=replace(segmenter.manifest.network, weights=Weights.CHECKPOINT),
        sources=(Source("checkpoint", str(checkpoint), sha256_of(checkpoint)),),
    )


def spec(
    artefact: Artefact,
    implementation: Implementation = Implementation.ARTEFACT,
    *,
    checkpoint: str = "",
    provider: Provider = Provider.CPU,
) -> RunnerSpec:
    options = RunOptions(provider, implementation, threads=1, checkpoint=checkpoint)
    return RunnerSpec(artefact, options)


def ask(what: RunnerSpec, image: NDArray[np.float32] = IMAGE) -> NDArray[np.float32]:
    with open_runner(what) as runner:
        logits: NDArray[np.float32] = runner.run({"image": image})["logits"]
    return logits


def expected(seed: int = 0) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = answer(
        tiny(Task.SEGMENT, seed), torch.from_numpy(IMAGE)
    ).numpy()
    return logits


@pytest.mark.parametrize("implementation", [Implementation.ARTEFACT, Implementation.EAGER])
def test_graph_and_network_give_the_trained_networks_answer(
    segmenter: Artefact, implementation: Implementation
) -> None:
    with open_runner(spec(segmenter, implementation)) as runner:
        assert (runner.name, runner.device) == (
            {"artefact": "onnxruntime-cpu", "eager": "eager"}[implementation],
            "cpu",
        )
        assert runner.settings["threads"] == 1
        logits = runner.run({"image": IMAGE})["logits"]
    np.testing.assert_allclose(logits, expected(), rtol=0, atol=1e-4)


def test_a_compiled_candidate_is_a_compiled_network(segmenter: Artefact) -> None:
    with open_runner(spec(segmenter, Implementation.COMPILE)) as runner:
        # Compiling waits for the first image, which would take minutes here.
        assert isinstance(runner, CompiledRunner)
        assert runner.name == "compile"
    with open_runner(spec(segmenter, Implementation.EAGER)) as runner:
        assert type(runner) is EagerRunner


def test_eager_takes_any_batch_of_a_graph_that_does_not(segmenter: Artefact) -> None:
    images = floats(2, 3, *SIZE)
    assert ask(spec(segmenter, Implementation.EAGER), images).shape == (2, CLASSES, *SIZE)


def test_eager_answers_in_the_artefacts_own_format(segmenter: Artefact) -> None:
    manifest = segmenter.manifest
    classmap = replace(manifest.outputs[0], name="classmap", dtype="uint8")
    changed = record(segmenter, output_format=OutputFormat.CLASSMAP, outputs=(classmap,))

    with open_runner(spec(changed, Implementation.EAGER)) as runner:
        given = runner.run({"image": IMAGE})["classmap"]

    assert given.dtype == np.uint8
    np.testing.assert_array_equal(given, expected().argmax(axis=1))


def test_eager_takes_normalised_images_whatever_the_graph_takes(segmenter: Artefact) -> None:
    uint8 = replace(segmenter.manifest.preparation, format=InputFormat.UINT8_NHWC)
    changed = record(segmenter, preparation=uint8)

    for implementation, format_ in (
        (Implementation.EAGER, InputFormat.FLOAT_NCHW),
        (Implementation.COMPILE, InputFormat.FLOAT_NCHW),
        (Implementation.ARTEFACT, InputFormat.UINT8_NHWC),
    ):
        preparation = spec(changed, implementation).preparation
        assert preparation == replace(uint8, format=format_)
    assert reference_network(changed.manifest).normalize is None
    logits = ask(spec(changed, Implementation.EAGER))
    np.testing.assert_allclose(logits, expected(), rtol=0, atol=1e-5)


def in_opset(artefact: Artefact, opset: int) -> Artefact:
    onnx.save(graphs.set_opset(onnx.load(artefact.path), opset), artefact.path)
    assert artefact.manifest.graph is not None
    return record(
        artefact,
        sha256=sha256_of(artefact.path),
        graph=replace(artefact.manifest.graph, opset=opset),
    )


@pytest.mark.parametrize("opset", [ONNXRUNTIME_OPSET + 1, graphs.NEWEST_OPSET])
def test_a_graph_newer_than_onnxruntime_runs(segmenter: Artefact, opset: int) -> None:
    newer = in_opset(segmenter, opset)

    np.testing.assert_allclose(ask(spec(newer)), expected(), rtol=0, atol=1e-4)


def test_a_graph_is_copied_only_where_it_must(segmenter: Artefact, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert runnable_graph(spec(segmenter), scratch) == segmenter.path
    known = in_opset(segmenter, ONNXRUNTIME_OPSET)
    assert runnable_graph(spec(known), scratch) == known.path
    before = sha256_of(known.path)
    newer = in_opset(known, ONNXRUNTIME_OPSET + 1)
    assert sha256_of(newer.path) != before
    copy = runnable_graph(spec(newer), scratch)
    assert copy == scratch / newer.path.name
    assert graphs.opset_of(onnx.load(copy)) == ONNXRUNTIME_OPSET
    assert sha256_of(newer.path) == newer.manifest.sha256


def test_a_bfloat16_graph_is_emulated_on_the_cpu_alone(
    segmenter: Artefact, tmp_path: Path
) -> None:
    path = segmenter.path.with_stem("narrow")
    narrow = cast_artefact(segmenter, path, Precision.BF16, [IMAGE], SilentProgress())
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    logits = ask(spec(narrow))

    error = np.abs(logits - expected()).mean() / expected().std()
    # A bfloat16 has 8 bits, and so has the answer, on its way out of the graph.
    assert 1e-3 < error < 0.1
    bits = logits.view(np.uint32)
    assert (bits & 0xFFFF == 0).all()
    copy = runnable_graph(spec(narrow), scratch)
    assert onnx.load(copy) == round_everywhere(onnx.load(narrow.path), TensorProto.BFLOAT16)
    assert runnable_graph(spec(narrow, provider=Provider.CUDA), scratch) == narrow.path


def test_a_changed_graph_is_refused(segmenter: Artefact) -> None:
    segmenter.path.write_bytes(segmenter.path.read_bytes() + b"\0")

    with pytest.raises(ArtefactError) as caught:
        open_artefact(segmenter.path)

    assert "SHA-256 differs" in caught.value.message
    assert "hrvit-deploy export" in caught.value.hint


def test_eager_finds_the_checkpoint_where_it_lay(trained: Artefact) -> None:
    logits = ask(spec(trained, Implementation.EAGER))

    np.testing.assert_allclose(logits, expected(7), rtol=0, atol=1e-5)
    assert np.abs(logits - expected()).max() > 0.1


def test_a_checkpoint_that_moved_is_found_with_the_option(
    trained: Artefact, checkpoint: Path
) -> None:
    moved = checkpoint.rename(checkpoint.with_name("moved.pth"))

    with pytest.raises(CheckpointError) as caught:
        open_runner(spec(trained, Implementation.EAGER))

    assert str(checkpoint) in caught.value.message
    assert "not there" in caught.value.message
    assert "--checkpoint" in caught.value.hint
    with pytest.raises(CheckpointError, match=r"elsewhere\.pth"):
        open_runner(spec(trained, Implementation.EAGER, checkpoint="elsewhere.pth"))
    logits = ask(spec(trained, Implementation.EAGER, checkpoint=str(moved)))
    np.testing.assert_allclose(logits, expected(7), rtol=0, atol=1e-5)


@pytest.mark.parametrize("named", [False, True])
def test_a_checkpoint_that_changed_is_refused(
    trained: Artefact, checkpoint: Path, named: bool
) -> None:
    torch.save(tiny(Task.SEGMENT).state_dict(), checkpoint)

    with pytest.raises(CheckpointError) as caught:
        open_runner(
            spec(trained, Implementation.EAGER, checkpoint=str(checkpoint) if named else "")
        )

    assert "SHA-256 differs" in caught.value.message
    assert str(checkpoint) in caught.value.message
    assert "--checkpoint" in caught.value.hint


def test_a_graph_runs_without_its_checkpoint(trained: Artefact, checkpoint: Path) -> None:
    checkpoint.unlink()

    np.testing.assert_allclose(ask(spec(trained)), expected(), rtol=0, atol=1e-4)


def test_a_chain_without_a_checkpoint_is_refused(trained: Artefact) -> None:
    orphan = record(trained, sources=())

    with pytest.raises(CheckpointError) as caught:
        open_runner(spec(orphan, Implementation.EAGER))

    assert "names no checkpoint" in caught.value.message
    assert "export" in caught.value.hint
