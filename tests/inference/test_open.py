"""Artefacts are opened, fed, timed and compared as their sidecars say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import small_artefacts

from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.images import samples
from hrvit_deploy.inference.open import open_for_timing
from hrvit_deploy.inference.prepared_runner import DYNAMIC_BATCH, PreparedRunner
from hrvit_deploy.measure.latency.bench import BenchOptions, bench
from hrvit_deploy.measure.latency.worker import candidate_of
from hrvit_deploy.measure.parity.gates import GATES
from hrvit_deploy.measure.parity.verify import verify
from hrvit_deploy.options import ImageSize, Precision
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner
from hrvit_deploy.runners.spec import RunnerSpec, RunOptions


def spec(artefact: Artefact, batch: int = 1) -> RunnerSpec:
    return RunnerSpec(artefact, RunOptions(threads=1), batch)


@pytest.mark.parametrize(
    ("of_graph", "asked", "fed"), [("batch", 3, 3), (2, 3, 2), ("batch", 1, 1)]
)
def test_the_batch_is_the_graph_s_or_the_one_asked_for(
    tmp_path: Path, of_graph: int | str, asked: int, fed: int
) -> None:
    made = small_artefacts.artefact(tmp_path, batch=of_graph)
    runner, inputs = open_for_timing(spec(made, asked))
    with runner:
        assert inputs["image"].shape == (fed, 3, 32, 32)
        assert runner.run(inputs)["logits"].shape == (fed, 3)


def test_the_noise_is_the_same_everywhere(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    first, second = (open_for_timing(spec(made, 2))[1]["image"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first[0] != first[1]).any()


def test_an_artefact_is_benched_in_a_process_of_its_own(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    options = BenchOptions(rounds=2, runs=3, warmup=1, settle=0, pause_s=0)
    [row] = bench([candidate_of(spec(made))], options, {}, SilentProgress()).results
    assert not row.error
    assert len(row.times_ms) == 6
    assert row.settings["provider"] == "cpu"


def test_a_changed_artefact_is_refused_before_it_is_timed(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    made.path.write_bytes(made.path.read_bytes() + b"\0")
    with pytest.raises(ArtefactError, match="SHA-256"):
        open_artefact(made.path)


@pytest.mark.parametrize("batch", ["batch", 1, 3])
def test_an_artefact_is_verified_against_another(tmp_path: Path, batch: int | str) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    ours = small_artefacts.artefact(folders[0], batch=batch)
    theirs = small_artefacts.artefact(folders[1], batch=1)
    with OnnxRuntimeRunner(ours.path) as one, OnnxRuntimeRunner(theirs.path) as other:
        candidate = PreparedRunner.of(ours.manifest, one)
        assert candidate.batch == (DYNAMIC_BATCH if batch == "batch" else batch)
        verdict = verify(
            candidate,
            PreparedRunner.of(theirs.manifest, other),
            samples(5, ImageSize(32, 32)),
            GATES[Precision.FP32],
            SilentProgress(),
            total=5,
        )
    assert verdict.passed
    assert verdict.images == 5
    assert verdict.reference == "onnxruntime-cpu"
