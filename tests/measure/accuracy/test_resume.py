"""An evaluation that was broken off goes on where it was, and only there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import labelled
from support.fake_runners import CLASSES, fed, scores, side

from hrvit_deploy.classes import class_set
from hrvit_deploy.datasets import find_dataset
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, Evaluation, evaluate
from hrvit_deploy.measure.accuracy.resume import SAVE_SECONDS, ResumeFile, RunningCounts, key_of
from hrvit_deploy.progress import SilentProgress

NAMES = class_set(map(str, range(CLASSES)))


def judged(
    folder: Path, asked: Any, resume_file: ResumeFile, progress: SilentProgress
) -> Evaluation:
    return evaluate(
        asked, find_dataset(folder), NAMES, EvaluateOptions(), progress, resume_file=resume_file
    )


def patchy(batch: Any) -> Any:
    """Scores of which some are no numbers."""
    maps = scores(batch)
    maps[:, :, 3:9, 5:9] = np.nan
    return maps


def breaking(after: int) -> Any:
    """A side that is interrupted at its image of that number."""

    def network(batch: Any) -> Any:
        if len(fed(asked)) > after:
            raise KeyboardInterrupt
        return patchy(batch)

    asked = side(network)
    return asked


def test_an_interrupted_run_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    folder, state = labelled.ade20k(tmp_path / "d", count=5), tmp_path / "s" / "x.state"
    whole = judged(folder, side(patchy), ResumeFile(None, ""), SilentProgress())
    first, second = SilentProgress(), SilentProgress()
    with pytest.raises(KeyboardInterrupt):
        judged(folder, breaking(after=3), ResumeFile(state, "key"), first)
    assert state.is_file()
    assert "3 images are counted; the same command goes on" in first.notes

    asked = side(patchy)
    found = judged(folder, asked, ResumeFile(state, "key"), second)

    assert len(fed(asked)) == 2
    assert any("going on after 3 images" in note for note in second.notes)
    assert found.figures == whole.figures
    np.testing.assert_array_equal(found.confusion.counts, whole.confusion.counts)
    np.testing.assert_array_equal(found.confusion.undecided, whole.confusion.undecided)
    assert list(state.parent.iterdir()) == []


@pytest.mark.parametrize("damage", ["key", "cut", "empty", "other file", "fewer classes"])
def test_a_state_that_does_not_fit_is_passed_over(tmp_path: Path, damage: str) -> None:
    folder, state = labelled.ade20k(tmp_path / "d", count=2), tmp_path / "x.state"
    counts = RunningCounts(3 if damage == "fewer classes" else CLASSES)
    counts.images = 1
    ResumeFile(state, "other" if damage == "key" else "key").save(counts)
    held = state.read_bytes()
    if damage in ("cut", "empty"):
        state.write_bytes(held[:-40] if damage == "cut" else b"")
    elif damage == "other file":
        state.write_bytes(b"not a state at all")
    progress, asked = SilentProgress(), side()

    found = judged(folder, asked, ResumeFile(state, "key"), progress)

    assert len(fed(asked)) == found.images == 2
    assert any("starting anew" in note for note in progress.notes)


def test_it_is_written_every_so_often(tmp_path: Path) -> None:
    folder, state = labelled.ade20k(tmp_path / "d", count=5), tmp_path / "x.state"
    now, written = 0.0, []

    def network(batch: Any) -> Any:
        nonlocal now
        now += SAVE_SECONDS / 2
        written.append(state.stat().st_size if state.exists() else 0)
        return scores(batch)

    judged(folder, side(network), ResumeFile(state, "key", lambda: now), SilentProgress())
    # Nothing is there before the third image, whose two before took so long.
    assert [bool(size) for size in written] == [False, False, True, True, True]
    assert not state.exists()


def test_counts_broken_off_half_way_are_not_kept(tmp_path: Path) -> None:
    resume_file, counts = ResumeFile(tmp_path / "x.state", "key"), RunningCounts(CLASSES)
    counts.images = 4

    class Stopping(list[Any]):
        def __iter__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), resume_file.keeping(counts, SilentProgress()):
        counts.add_maps(Stopping(), [])
    assert not (tmp_path / "x.state").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="cannot write") as caught:
        ResumeFile(tmp_path / "file" / "x.state", "key").save(RunningCounts(CLASSES))
    assert "--out" in caught.value.hint


def test_the_key_tells_data_and_settings_apart(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path)
    dataset = find_dataset(folder)
    key = key_of(dataset, None, about="a")
    assert key == key_of(find_dataset(folder), None, about="a")
    assert key != key_of(dataset, None, about="b")
    assert key != key_of(dataset, 2, about="a")
    labels = dataset.samples[0].labels
    assert labels is not None
    os.utime(labels, (1, 1))
    assert key != key_of(dataset, None, about="a")
