"""Folders of classes are taken by name, and told or refused where that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import labelled
from support.small_artefacts import SIZE, artefact

from hrvit_deploy.artefact import Network, Weights
from hrvit_deploy.datasets import Dataset, find_dataset
from hrvit_deploy.errors import InputError
from hrvit_deploy.measure.accuracy.class_folders import match_folders
from hrvit_deploy.measure.accuracy.evaluate import (
    EvaluateOptions,
    Evaluation,
    evaluate_artefact,
    labelled_data,
)
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import Task
from hrvit_deploy.progress import SilentProgress

NAMES = ("red", "green", "Blue sky")


def folders(root: Path, *names: str) -> Path:
    """A folder a name, with an image; none in those that end in a dot."""
    for name in names:
        (root / name).mkdir(parents=True)
        if not name.endswith("."):
            labelled.save(root / name / "a.png", np.zeros((8, 8, 3), np.uint8))
    return root


def labels(dataset: Dataset) -> dict[str, int]:
    return {sample.image.parent.name: sample.label for sample in dataset.samples}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("red", "green", "blue_sky"), {"blue_sky": 2, "green": 1, "red": 0}),
        (("GREEN", "blue-sky"), {"GREEN": 1, "blue-sky": 2}),
        (("2.green", "1.red"), {"1.red": 0, "2.green": 1}),
        (("red", "green", "old."), {"green": 1, "red": 0}),
    ],
)
def test_folders_called_as_the_classes_are_those_whatever_their_order(
    tmp_path: Path, names: tuple[str, ...], expected: dict[str, int]
) -> None:
    matched = match_folders(find_dataset(folders(tmp_path, *names)), NAMES, 3)
    assert labels(matched) == expected
    assert matched.classes == NAMES
    assert bool(matched.notes) == ("old." in names)
    assert not matched.notes or "old." in matched.notes[0]


@pytest.mark.parametrize("stray", ["rubbish", "train"])
def test_a_stray_folder_with_images_is_refused_by_name(tmp_path: Path, stray: str) -> None:
    with pytest.raises(InputError, match=f"no class of the network: {stray}") as refused:
        match_folders(find_dataset(folders(tmp_path, "red", "green", stray)), NAMES, 3)
    assert "--classes" in refused.value.hint


def test_folders_called_otherwise_are_taken_in_order_and_told(tmp_path: Path) -> None:
    data = find_dataset(folders(tmp_path, "n1", "n2", "n3"))
    matched = match_folders(data, NAMES, 3)
    assert labels(matched) == {"n1": 0, "n2": 1, "n3": 2}
    assert "n1 for red, to n3 for Blue sky" in matched.notes[0]
    with pytest.raises(InputError, match="has 2 folders of classes"):
        match_folders(find_dataset(folders(tmp_path / "b", "n1", "n2")), NAMES, 3)


def test_without_names_the_place_counts_and_gaps_are_told(tmp_path: Path) -> None:
    data = find_dataset(folders(tmp_path, "a", "b", "c"))
    assert match_folders(data, (), 3).notes == ()
    assert "3 folders of classes for the 5" in match_folders(data, (), 5).notes[0]
    with pytest.raises(InputError, match=r"has 3 folders of classes \(a, b, c\)"):
        match_folders(data, (), 2)


def test_without_names_folders_without_images_are_no_class_too_many(tmp_path: Path) -> None:
    matched = match_folders(find_dataset(folders(tmp_path, "a", "b.", "c")), (), 2)
    assert labels(matched) == {"a": 0, "c": 1}
    assert matched.notes == ("folders without images that are no class are passed over: b.",)


def test_numbers_in_the_order_of_text_are_told(tmp_path: Path) -> None:
    data = find_dataset(folders(tmp_path, *map(str, range(11))))
    assert "10 is class 2" in match_folders(data, (), 11).notes[0]
    named = match_folders(data, tuple(map(str, range(11))), 11)
    assert labels(named)["10"] == 10
    assert named.notes == ()
    padded = find_dataset(folders(tmp_path / "b", "00", "01", "10"))
    assert match_folders(padded, (), 3).notes == ()


def test_the_sidecars_names_decide_what_is_measured(tmp_path: Path) -> None:
    # In the order of text, every class would be taken for another.
    names = ("zinnober", "mint", "azur")
    for index, name in enumerate(names):
        pixels = np.full((SIZE, SIZE, 3), 60, np.uint8)
        pixels[..., index] = 220
        labelled.save(tmp_path / "data" / name / "a.png", pixels)
    network = Network(VARIANTS["b1"], Task.CLASSIFY, 3, Weights.RANDOM, class_names=names)
    assert judged(tmp_path, network).score == 1
    file = tmp_path / "classes.txt"
    file.write_text("\n".join(names))
    unnamed = Network(VARIANTS["b1"], Task.CLASSIFY, 3, Weights.RANDOM)
    assert judged(tmp_path, unnamed).score < 1
    assert judged(tmp_path, unnamed, str(file)).score == 1
    data = labelled_data(tmp_path / "data", unnamed, classes=str(file))
    assert labels(data) == {"azur": 2, "mint": 1, "zinnober": 0}


def judged(folder: Path, network: Network, classes: str = "") -> Evaluation:
    made = artefact(folder, network=network)
    options = EvaluateOptions(classes=classes)
    return evaluate_artefact(made, folder / "data", options, SilentProgress())
