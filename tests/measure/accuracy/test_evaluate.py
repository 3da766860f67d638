"""Figures are those torchmetrics finds on the same predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import labelled
from support.fake_runners import CLASSES, SIZE, scores, side, whole
from support.small_artefacts import artefact
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassJaccardIndex,
)

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.classes import class_set
from hrvit_deploy.datasets import (
    VOID,
    Dataset,
    LabelOrientation,
    Layout,
    find_dataset,
    read_labels,
)
from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.images import NamedImage, load_image, load_turned
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.postprocess import label_maps, probabilities
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.accuracy.evaluate import (
    EvaluateOptions,
    Evaluation,
    evaluate,
    evaluate_artefact,
)
from hrvit_deploy.options import ImageSize
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.spec import InferencePrecision, Provider, RunOptions
from hrvit_deploy.standalone.orientation import turn

NAMES = class_set(["wall", "sky", "tree", "road", "door"])


def judged(data: Dataset | Path, asked: PreparedRunner, **options: Any) -> Evaluation:
    dataset = data if isinstance(data, Dataset) else find_dataset(data)
    return evaluate(asked, dataset, NAMES, EvaluateOptions(**options), SilentProgress())


def maps_of(
    dataset: Dataset, asked: PreparedRunner, fit: FitOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """All labels, and all predictions for them."""
    truths, answers = [], []
    for sample in dataset.samples:
        labels = read_labels(sample, dataset.layout)
        image = NamedImage("", load_image(sample.image))
        found = label_maps(asked, [image], [ImageSize(*labels.shape)], fit, CLASSES)
        truths.append(torch.from_numpy(labels).ravel())
        answers.append(torch.from_numpy(next(found)).ravel())
    return torch.cat(truths), torch.cat(answers)


@pytest.mark.parametrize("fit", [FitOptions(), FitOptions(Fit.PAD), FitOptions(Fit.SLIDE)])
@pytest.mark.parametrize("seen", [range(CLASSES + 1), (0, 1, 3)])
def test_segmentation_is_as_torchmetrics_has_it(
    tmp_path: Path, fit: FitOptions, seen: Sequence[int]
) -> None:
    dataset = find_dataset(labelled.ade20k(tmp_path))
    for index, sample in enumerate(dataset.samples):
        assert sample.labels is not None
        height, width = load_image(sample.image).shape[:2]
        labelled.save(sample.labels, labelled.truth(index, height, width, seen))
    found = judged(dataset, side(), fit=fit)

    truths, answers = maps_of(dataset, side(), fit)
    known: Any = {"num_classes": CLASSES, "ignore_index": VOID}
    shares = MulticlassJaccardIndex(average="none", **known)(answers, truths)
    counts = MulticlassConfusionMatrix(**known)(answers, truths)
    occurring = counts.sum(dim=0) + counts.sum(dim=1) > 0
    np.testing.assert_array_equal(found.confusion.counts, counts.numpy())
    assert found.metric == "miou"
    assert found.score == pytest.approx(
        float(MulticlassJaccardIndex(average="macro", **known)(answers, truths))
    )
    assert found.figures["pixel_accuracy"] == pytest.approx(
        float(MulticlassAccuracy(average="micro", **known)(answers, truths))
    )
    # Classes that only answers hold count there as wholly wrong, and here not at all.
    recalls = MulticlassAccuracy(average="none", **known)(answers, truths)
    assert found.figures["mean_accuracy"] == pytest.approx(
        float(recalls[counts.sum(dim=1) > 0].mean())
    )
    for name, share, there in zip(NAMES.names, shares, occurring, strict=True):
        expected = pytest.approx(float(share)) if there else None
        assert found.iou[name] == expected
    assert found.images == len(dataset.samples)
    assert 0.02 < found.score < 0.9


def test_classification_is_as_torchmetrics_has_it(tmp_path: Path) -> None:
    dataset = find_dataset(labelled.imagenet(tmp_path, each=5))
    wide = np.random.default_rng(0).normal(size=(9, CLASSES)).astype(np.float32)
    names = class_set(map(str, range(9)))
    asked = side(lambda batch: whole(batch) @ wide.T, batch=4)
    found = evaluate(asked, dataset, names, EvaluateOptions(), SilentProgress())

    images = [NamedImage("", load_image(sample.image)) for sample in dataset.samples]
    shares = torch.from_numpy(np.stack(list(probabilities(asked, images, FitOptions()))))
    truths = torch.tensor([sample.label for sample in dataset.samples])
    for figure, top in (("top1", 1), ("top5", 5)):
        theirs = MulticlassAccuracy(num_classes=9, top_k=top, average="micro")
        assert found.figures[figure] == pytest.approx(float(theirs(shares, truths)))
    assert found.metric == "top1"
    assert found.score < found.figures["top5"] < 1
    assert found.confusion.total == found.images == 15


def test_a_perfect_network_has_all_points(tmp_path: Path) -> None:
    dataset = find_dataset(labelled.ade20k(tmp_path, count=1))
    (sample,) = dataset.samples
    assert sample.labels is not None
    labels = read_labels(sample, dataset.layout).clip(0)
    labelled.save(sample.image, np.repeat(labels[..., None], 3, 2).astype(np.uint8))
    asked = side(
        lambda batch: (batch[:, :1] == np.arange(CLASSES)[:, None, None]).astype(np.float32),
        preparation=Preparation(ImageSize(*labels.shape), mean=(0.0,) * 3, std=(1.0,) * 3),
    )
    found = judged(dataset, asked)
    assert found.figures == {"miou": 1, "mean_accuracy": 1, "pixel_accuracy": 1}


def test_an_ignored_class_is_not_judged(tmp_path: Path) -> None:
    dataset = find_dataset(labelled.ade20k(tmp_path))
    before, after = judged(dataset, side()), judged(dataset, side(), ignore_index=2)
    assert before.confusion.counts[2].sum() > 0
    assert after.confusion.counts[2].sum() == 0
    assert after.confusion.total < before.confusion.total


def test_scores_that_are_no_numbers_are_wrong(tmp_path: Path) -> None:
    dataset = find_dataset(labelled.ade20k(tmp_path))
    found = judged(dataset, side(lambda batch: scores(batch) * np.nan))
    assert found.score == 0
    assert found.figures["pixel_accuracy"] == 0
    assert found.confusion.undecided.sum() == found.confusion.total > 0
    classes = find_dataset(labelled.imagenet(tmp_path / "i"))
    assert judged(classes, side(lambda batch: whole(batch) * np.nan)).figures == {
        "top1": 0,
        "top5": 0,
    }


def test_only_so_many_images_are_taken(tmp_path: Path) -> None:
    assert judged(labelled.ade20k(tmp_path), side(batch=2), samples=1).images == 1


def test_the_images_taken_are_spread_over_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are those that every other command takes: see ``Dataset.chosen``."""
    loaded: list[str] = []

    def load(path: Path) -> Any:
        loaded.append(path.name)
        return load_turned(path)

    monkeypatch.setattr("hrvit_deploy.measure.accuracy.evaluate.load_turned", load)
    judged(labelled.ade20k(tmp_path, count=5), side(batch=2), samples=2)
    assert loaded == ["v0.png", "v2.png"]


def test_cityscapes_are_judged_by_their_nineteen_classes(tmp_path: Path) -> None:
    folder = labelled.cityscapes(tmp_path, np.tile([7, 8, 11, 0], (32, 16)), "labelIds")
    found = judged(folder, side())
    assert found.layout is Layout.CITYSCAPES
    assert found.confusion.counts.sum(axis=1).tolist() == [512, 512, 512, 0, 0]


def test_labels_the_network_does_not_know_are_named(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path, classes=8)
    with pytest.raises(InputError, match=r"v0\.png holds class \d, the network tells 5"):
        judged(folder, side())


def test_labels_of_another_shape_are_named(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path)
    labelled.save(folder / "annotations/validation/v1.png", np.ones((56, 40), np.uint8))
    with pytest.raises(InputError, match=r"v1\.png has 56x40 labels for an image of 48x52"):
        judged(folder, side())


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path)
    (folder / "images/validation/v2.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"v2\.png is not an image"):
        judged(folder, side())


def test_nothing_labelled_is_refused(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path, count=1)
    labelled.save(folder / "annotations/validation/v0.png", np.zeros((40, 56), np.uint8))
    with pytest.raises(InputError, match="none of the 1 images") as caught:
        judged(folder, side())
    assert "--ignore-index" in caught.value.hint


def test_more_folders_than_classes_are_refused(tmp_path: Path) -> None:
    folder = labelled.imagenet(tmp_path, tuple("abcdef"), each=1)
    with pytest.raises(InputError, match="6 folders of classes, the network tells 5 apart"):
        judged(folder, side(whole))


def test_a_classifier_takes_no_windows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whole images"):
        judged(labelled.imagenet(tmp_path), side(whole), fit=FitOptions(Fit.SLIDE))


def test_an_artefact_is_judged_on_data_for_its_task(tmp_path: Path) -> None:
    made = artefact(tmp_path)
    names = ("reddish", "greenish", "bluish")
    for index, name in enumerate(names):
        pixels = np.full((SIZE.height, SIZE.width, 3), 60, np.uint8)
        pixels[..., index] = 220
        labelled.save(tmp_path / "data" / f"{index}-{name}" / "a.png", pixels)
    found = evaluate_artefact(made, tmp_path / "data", EvaluateOptions(), SilentProgress())
    assert found.score == 1
    assert found.classes.names == ("0-reddish", "1-greenish", "2-bluish")
    assert found.runner == "onnxruntime-cpu"
    labelled.ade20k(tmp_path / "maps")
    with pytest.raises(InputError, match="laid out as ade20k, to segment"):
        evaluate_artefact(made, tmp_path / "maps", EvaluateOptions(), SilentProgress())


def test_counts_are_kept_apart_by_what_computed_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def key_of(dataset: Dataset, samples: int | None, *, about: Any) -> str:
        told.append(str(about))
        return "key"

    monkeypatch.setattr("hrvit_deploy.measure.accuracy.evaluate.key_of", key_of)
    made, data = artefact(tmp_path), labelled.imagenet(tmp_path / "data", each=1)
    for how in (
        {"provider": Provider.CPU},
        {"provider": Provider.OPENVINO},
        {"provider": Provider.OPENVINO, "inference_precision": InferencePrecision.DEVICE},
    ):
        run = RunOptions(threads=1, **how)
        state = tmp_path / "state"
        found = evaluate_artefact(
            made, data, EvaluateOptions(), SilentProgress(), run=run, state=state
        )
        assert found.runner.startswith("openvino" if len(told) > 1 else "onnxruntime")
    assert len(set(told)) == 3


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_labels_may_be_drawn_on_the_stored_pixels(tmp_path: Path, orientation: int) -> None:
    """As labelme once did: the same figures as of images and labels that lie upright."""
    upright = judged(labelled.ade20k(tmp_path / "plain"), side(scores))
    exif = Image.Exif()
    exif[0x112] = orientation
    undone = {3: 3, 6: 8, 8: 6}[orientation]
    folder = labelled.ade20k(tmp_path / "turned")
    for part in ("images", "annotations"):
        for path in (folder / part / "validation").iterdir():
            stored = turn(np.asarray(Image.open(path)), undone)
            Image.fromarray(stored).save(path, exif=exif if part == "images" else b"")
    dataset = find_dataset(folder)
    told = SilentProgress()
    options = EvaluateOptions(labels=LabelOrientation.STORED)
    found = evaluate(side(scores), dataset, NAMES, options, told)
    assert found.figures == upright.figures
    assert found.turned == 3
    [line] = [note for note in told.notes if "EXIF" in note]
    assert line.startswith("3 of 3 images are turned by their EXIF orientation")
    assert line.endswith("drawn on the stored pixels")
    if orientation == 3:  # the others' labels are of another shape, which is refused
        told = SilentProgress()
        wrong = evaluate(side(scores), dataset, NAMES, EvaluateOptions(), told)
        assert wrong.figures != upright.figures
        assert "--labels stored" in told.warnings[0]
    else:
        with pytest.raises(InputError, match="labels for an image of") as caught:
            evaluate(side(scores), dataset, NAMES, EvaluateOptions(), told)
        assert "--labels stored" in caught.value.hint


def test_files_that_are_passed_over_are_told(tmp_path: Path) -> None:
    folder = labelled.ade20k(tmp_path)
    (folder / "images/validation/other.heic").touch()
    told = SilentProgress()
    evaluate(side(scores), find_dataset(folder), NAMES, EvaluateOptions(), told)
    assert "other.heic" in told.warnings[0]
