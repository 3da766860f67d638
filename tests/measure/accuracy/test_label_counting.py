"""Labels counted from 0 where the layout counts from 1, or the other way, are seen and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import labelled
from support.command_line import Run
from support.fake_runners import CLASSES, side, whole

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.classes import class_set
from hrvit_deploy.datasets import Layout, find_dataset
from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, Evaluation, evaluate
from hrvit_deploy.measure.accuracy.resume import ResumeFile, RunningCounts
from hrvit_deploy.options import ImageSize
from hrvit_deploy.progress import SilentProgress

SIZE = ImageSize(32, 64)
NAMES = class_set(map(str, range(CLASSES)))
ADE20K, CITYSCAPES = Layout.ADE20K, Layout.CITYSCAPES


def perfect() -> PreparedRunner:
    """One that reads the class of a pixel from its red."""
    return side(
        lambda batch: (batch[:, :1] == np.arange(CLASSES)[:, None, None]).astype(np.float32),
        preparation=Preparation(SIZE, mean=(0.0,) * 3, std=(1.0,) * 3),
    )


def counted(folder: Path, layout: Layout, first: int, classes: Any = range(CLASSES)) -> Path:
    """An image that shows its classes, whose labels call the first of them ``first``."""
    truth = labelled.truth(0, *SIZE, classes)
    labels = truth + np.uint8(first)
    if layout is ADE20K:
        labelled.save(folder / "annotations/validation/a.png", labels)
        image = folder / "images/validation/a.png"
    else:
        labelled.cityscapes(folder, labels)
        (image,) = folder.rglob("*_leftImg8bit.png")
    labelled.save(image, np.repeat(truth[..., None], 3, 2))
    return folder


def judged(folder: Path, labels_from: int | None = None, **options: Any) -> Evaluation:
    about = EvaluateOptions(labels_from=labels_from)
    return evaluate(perfect(), find_dataset(folder), NAMES, about, SilentProgress(), **options)


@pytest.mark.parametrize(("layout", "usual"), [(ADE20K, 1), (CITYSCAPES, 0)])
@pytest.mark.parametrize("first", [0, 1])
def test_labels_counted_otherwise_are_doubted_and_the_option_mends_it(
    tmp_path: Path, layout: Layout, usual: int, first: int
) -> None:
    folder = counted(tmp_path, layout, first, range(CLASSES - 1))
    found = judged(folder)
    if first == usual:
        assert found.score == 1
        assert found.doubt is None
    else:
        assert found.score < 0.1
        assert found.doubt is not None
        # One class in four is unlabelled where the first is called 0 and 1 is read as first.
        assert f"from {first} it is 1.0000: give --labels-from {first}" in found.doubt
    mended = judged(folder, first)
    assert mended.score == 1
    assert mended.doubt is None


def test_a_label_that_only_the_other_counting_knows_is_refused_with_it(tmp_path: Path) -> None:
    folder = counted(tmp_path, CITYSCAPES, 1)
    with pytest.raises(InputError, match=f"holds class {CLASSES}") as refused:
        judged(folder)
    assert "--labels-from 1" in refused.value.hint
    assert judged(folder, 1).score == 1


def test_a_bad_network_is_not_doubted_where_the_last_label_says_the_counting(
    tmp_path: Path,
) -> None:
    # Its answers are one class too low: counted from 0 they would be right.
    folder = counted(tmp_path, ADE20K, 1)
    asked = side(
        lambda batch: (batch[:, :1] == np.arange(CLASSES)[:, None, None] - 1).astype(float),
        preparation=perfect().preparation,
    )
    found = evaluate(asked, find_dataset(folder), NAMES, EvaluateOptions(), SilentProgress())
    assert found.score < 0.1
    assert found.doubt is None


@pytest.mark.parametrize("kind", ["folders", "label ids"])
def test_what_is_not_counted_takes_no_counting(tmp_path: Path, kind: str) -> None:
    if kind == "folders":
        data = find_dataset(labelled.imagenet(tmp_path))
    else:
        data = find_dataset(labelled.cityscapes(tmp_path, np.full(SIZE, 7), "labelIds"))
    with pytest.raises(UsageError, match=f"classes as {kind}"):
        evaluate(side(whole), data, NAMES, EvaluateOptions(labels_from=0), SilentProgress())


def test_no_other_number_is_a_first_label() -> None:
    with pytest.raises(UsageError, match="first class 2"):
        EvaluateOptions(labels_from=2)


def test_an_interrupted_evaluation_keeps_what_the_other_counting_needs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    counts = RunningCounts(CLASSES)
    counts.add_maps([np.array([[-2, -2, -1, 0]], np.int32)], [np.array([[1, -1, 2, 0]])])
    assert counts.unlabelled.tolist() == [0, 1, 0, 0, 0]
    ResumeFile(state, "key").save(counts)
    again = ResumeFile(state, "key").load(CLASSES, SilentProgress())
    assert again.unlabelled.tolist() == [0, 1, 0, 0, 0]
    assert again.confusion.total == 1


def test_commands_take_the_counting_and_tell_the_doubt(
    run: Run, graph: Path, folder: Path
) -> None:
    data = labelled.ade20k(folder / "data", count=2)

    ran = run("evaluate", str(graph), "--data", str(data), "--labels-from", "0", "--json")

    assert ran.code == 1
    assert "holds class 5" in ran.json["error"]
    refused = run("compare", str(graph), "--labels-from", "0")
    assert refused.code == 2
    assert "--data" in refused.err
    for command in ("quantize", "sensitivity"):
        assert "no labels to count" in run(command, str(graph), "--labels-from", "0").err


@pytest.mark.parametrize("first", [0, 1])
def test_masks_of_0_and_255_are_doubted(tmp_path: Path, first: int) -> None:
    folder = counted(tmp_path, ADE20K, first, [0, 1])
    (path,) = folder.rglob("annotations/**/a.png")
    truth = labelled.truth(0, *SIZE, [0, 1])
    labelled.save(path, np.where(truth == 1, np.uint8(255), np.uint8(first)))
    doubt = judged(folder, first).doubt
    assert doubt is not None
    assert "all labels are of one class, number 0" in doubt
    assert "write that class's number instead" in doubt
    labelled.save(path, truth + np.uint8(first))
    assert judged(folder, first).doubt is None
