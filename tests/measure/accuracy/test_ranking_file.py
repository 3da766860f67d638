"""A ranking that was broken off goes on, and ends as one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import labelled

from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.images import NamedImage
from hrvit_deploy.measure.accuracy.ranking_file import RankingFile
from hrvit_deploy.measure.accuracy.sensitivity import (
    Labelled,
    Sensitivity,
    SwitchedRunner,
    measure_sensitivity,
)
from hrvit_deploy.options import Group, Method, QuantizeOptions
from hrvit_deploy.pipeline.mixed_precision import ranking_file
from hrvit_deploy.pipeline.quality_gate import QualityCriteria
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.calibration.ranges import Ranges
from hrvit_deploy.quantization.products import Product
from hrvit_deploy.quantization.switches import SWITCHES
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs

PRODUCTS = [Product(name, Group.LINEAR, ()) for name in ("first", "second", "third")]


class Drifting(Closing):
    """Scores that each switch turns differently; breaks off after so many runs."""

    name, device = "fake", "cpu"

    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, last: int | None = None) -> None:
        self.runs, self.last = 0, last

    def run(self, inputs: Inputs) -> Outputs:
        if self.runs == self.last:
            raise KeyboardInterrupt
        self.runs += 1
        on = inputs[SWITCHES]
        scores = np.random.default_rng(int(inputs["image"].sum()) % 997).normal(
            size=(1, 5, 64, 96)
        )
        noise = np.random.default_rng(5).normal(size=scores.shape)
        drift = float((np.array([0.1, 1.0, 0.3]) * on).sum())
        return {"logits": (scores + drift * noise).astype(np.float32)}


@pytest.fixture
def artefact(graph: Path) -> Artefact:
    return open_artefact(graph)


def images(*, labelled: bool) -> list[Labelled]:
    made = []
    for seed in range(3):
        generator = np.random.default_rng(seed)
        pixels = generator.integers(0, 256, (64, 96, 3), np.uint8)
        truth = generator.integers(-1, 5, (1, 64, 96)).astype(np.int32) if labelled else None
        made.append(Labelled(NamedImage(str(seed), pixels), truth))
    return made


def rank(
    artefact: Artefact,
    fake: Drifting,
    file: RankingFile | None,
    progress: SilentProgress | None = None,
    *,
    labelled: bool = True,
) -> Sensitivity:
    return measure_sensitivity(
        artefact.manifest,
        SwitchedRunner(fake, len(PRODUCTS)),
        PRODUCTS,
        images(labelled=labelled),
        progress or SilentProgress(),
        resume_file=file,
    )


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("last", [1, 3, 4, 7, 11])
def test_a_broken_off_ranking_goes_on(
    artefact: Artefact, tmp_path: Path, last: int, labelled: bool
) -> None:
    path = tmp_path / "calib" / "graph-int8.ranking"
    whole = rank(artefact, Drifting(), None, labelled=labelled)
    with pytest.raises(KeyboardInterrupt):
        rank(artefact, Drifting(last), RankingFile(path, "key"), labelled=labelled)

    fake, progress = Drifting(), SilentProgress()
    resumed = rank(artefact, fake, RankingFile(path, "key"), progress, labelled=labelled)

    assert resumed == whole
    # The float graph is run once more for the image that was begun, at most.
    assert fake.runs <= 3 * (1 + len(PRODUCTS)) - last + 1
    assert any(f"going on after {last}" in note for note in progress.notes)


def test_a_line_that_was_not_finished_is_dropped(artefact: Artefact, tmp_path: Path) -> None:
    path = tmp_path / "graph-int8.ranking"
    whole = rank(artefact, Drifting(), RankingFile(path, "key"))
    stored = path.read_bytes()
    for kept in (0, 5, len(stored) // 2, len(stored) - 1):
        path.write_bytes(stored[:kept])
        assert rank(artefact, Drifting(), RankingFile(path, "key")) == whole
        assert path.read_bytes() == stored


@pytest.mark.parametrize("text", [b"", b"\0\xff\n", b"[]\n", b'{"key": "other"}\n{}\n'])
def test_what_was_measured_on_something_else_is_not_taken(
    artefact: Artefact, tmp_path: Path, text: bytes
) -> None:
    path, fake, progress = tmp_path / "graph-int8.ranking", Drifting(), SilentProgress()
    path.write_bytes(text)
    rank(artefact, fake, RankingFile(path, "key"), progress)
    assert fake.runs == 3 * (1 + len(PRODUCTS))
    assert any("starting anew" in note for note in progress.notes)


def test_a_file_that_cannot_be_written_is_one_line(artefact: Artefact, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtefactError, match="cannot write"):
        rank(artefact, Drifting(), RankingFile(tmp_path / "file" / "a.ranking", "key"))


def test_measurements_belong_to_labels_and_preparation(
    artefact: Artefact, tmp_path: Path
) -> None:
    """The same pixels with other labels, or prepared otherwise, are something else."""
    data = labelled.ade20k(tmp_path / "data", count=3)
    ranges = Ranges("0" * 64, "", Method.MINMAX, 1, "", random_data=False, percentile=100.0)
    criteria = QualityCriteria(data=data)

    def key(graph: Artefact, criteria: QualityCriteria) -> str:
        file = ranking_file(graph, (tmp_path / "r.json", ranges), QuantizeOptions(), criteria)
        return file.key

    same = key(artefact, criteria)
    assert key(artefact, criteria) == same
    preparation = replace(artefact.manifest.preparation, mean=(1.0, 2.0, 3.0))
    prepared = replace(artefact, manifest=replace(artefact.manifest, preparation=preparation))
    labels = data / "annotations" / "validation" / "v0.png"
    keys = {same, key(prepared, criteria)}
    stored = np.asarray(Image.open(labels))
    Image.fromarray(np.where(stored == 1, 2, stored).astype(np.uint8)).save(labels)
    keys.add(key(artefact, criteria))
    assert len(keys) == 3
