"""Every option that changes what an image becomes, set wrong on a trained network.

Each wrong value must be refused or bring a word, at export or where the figure is measured.
Where none can come, the table says why, and the reason is put to the test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.classes import class_set
from hrvit_deploy.datasets import LabelOrientation, Layout, find_dataset
from hrvit_deploy.deploy.signature import Signed
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.images import prepare
from hrvit_deploy.inference.fit import Fit, FitOptions
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.accuracy.evaluate import EvaluateOptions, Evaluation, evaluate
from hrvit_deploy.model.checkpoint_file import read_metadata
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ExportOptions,
    ImageSize,
    InputFormat,
    OutputFormat,
)
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.torch_ import EagerRunner
from hrvit_deploy.trained import Trained

FOLDER = Path(__file__).parents[2] / "examples" / "digit_scenes"
sys.path.insert(0, str(FOLDER))

import scenes  # noqa: E402

pytestmark = pytest.mark.slow

CHECKPOINT = FOLDER / "hrvit_b1.safetensors"
SIZE, WIDE = ImageSize(256, 256), ImageSize(256, 512)
COUNT = 5
# mIoU that a value may cost and still be said to change the figure hardly.
HARDLY = 0.03
NOUGHT = (0.0,) * 3


@dataclass(frozen=True)
class Flip:
    """One option set wrong.

    Attributes:
        option: The field it sets.
        preparation: Changes to the preparation of the export.
        evaluation: Changes to the options of the evaluation.
        data: Which scenes.
        reason: Why nothing can be said; empty where something must be.
        proof: Whether that is so.
    """

    option: str
    preparation: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    data: str = "square"
    reason: str = ""
    proof: Callable[[Flip, Evaluation], bool] | None = None


@cache
def trained() -> Trained:
    return stages.load(NetworkSpec(VARIANTS["b1"], checkpoint=CHECKPOINT), SilentProgress())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) for name in ("square", "wide", "from 0")}
    for name, folder in made.items():
        count, size = (2, WIDE) if name == "wide" else (COUNT, SIZE)
        scenes.write_scenes(folder, count, size)
    for path in (made["from 0"] / "annotations").rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)) - np.uint8(1)).save(path)
    return made


FOLDERS: dict[str, Path] = {}


@pytest.fixture(autouse=True)
def known(folders: dict[str, Path]) -> None:
    FOLDERS.update(folders)


def prepared(preparation: Preparation, *, swapped: bool = False) -> PreparedRunner:
    """The network, eager; ``swapped`` reads blue for red, as one that was trained on BGR."""
    signed = Signed(trained().network, preparation, OutputFormat.LOGITS)
    runner = EagerRunner(signed, threads=1)
    if swapped:
        straight = runner.run
        runner.run = lambda inputs: straight(  # type: ignore[method-assign]
            {name: np.ascontiguousarray(image[:, ::-1]) for name, image in inputs.items()}
        )
    return PreparedRunner(runner, preparation, OutputFormat.LOGITS)


def measured(
    flip: Flip, progress: SilentProgress | None = None, *, swapped: bool = False
) -> Evaluation:
    options = replace(EvaluateOptions(), **flip.evaluation)
    dataset = find_dataset(FOLDERS[flip.data], options.layout)
    return evaluate(
        prepared(replace(Preparation(SIZE), **flip.preparation), swapped=swapped),
        dataset,
        class_set(trained().described.class_names),
        options,
        progress or SilentProgress(),
    )


@cache
def right(data: str = "square") -> float:
    return measured(Flip("", data=data)).score


def outcome(flip: Flip) -> tuple[list[str], Evaluation | None]:
    """What export and evaluate say, or why they refuse; and the figure, where it counts."""
    progress = SilentProgress()
    try:
        preparation = replace(Preparation(SIZE), **flip.preparation)
        batches = ImageSource(limit=2).batches(preparation, 1)
        words = stages.doubts(trained(), preparation, batches)
        if words:
            return words, None
        found = measured(flip, progress)
    except HrvitDeployError as error:
        return [f"{error.message}; {error.hint}"], None
    return [*progress.notes, *progress.warnings, *filter(None, [found.doubt])], found


def hardly(flip: Flip, found: Evaluation) -> bool:
    """Whether the figure is nearly the right one."""
    return abs(found.score - right(flip.data)) < HARDLY


def alike(flip: Flip, found: Evaluation) -> bool:
    """Whether the figure is the right one, but for rounding."""
    return abs(found.score - right(flip.data)) < 0.002


def recorded_nowhere(flip: Flip, _: Evaluation) -> bool:
    return flip.option not in read_metadata(CHECKPOINT)


def shown_with_the_figure(flip: Flip, _: Evaluation) -> bool:
    """Whether the line under the figure repeats the option."""
    return f"--{flip.option}" in str(flip.evaluation["fit"])


def not_counted(_: Flip, found: Evaluation) -> bool:
    return found.iou["background"] == 0.0


SLIDE = FitOptions(Fit.SLIDE)
SCALE = "a segmenter takes any size, and neither file nor data say the training's"
ASKED = "it is asked for by name, and stands with the figure"
SMALL = "the figure is hardly another"
FLIPS = [
    Flip("mean", {"mean": (0.485, 0.456, 0.406)}),
    Flip("mean", {"mean": NOUGHT}),
    Flip("mean", {"mean": IMAGENET_MEAN[::-1]}),
    Flip("mean", {"mean": IMAGENET_STD}),
    Flip("mean", {"mean": (127.5,) * 3}, reason=SMALL, proof=hardly),
    Flip("mean", {"mean": (104.0, 117.0, 124.0)}),
    Flip("std", {"std": (0.229, 0.224, 0.225)}),
    Flip("std", {"std": (1.0,) * 3}),
    Flip("std", {"std": (127.5,) * 3}),
    Flip("std", {"std": (255.0,) * 3}),
    Flip("std", {"std": (70.0,) * 3}, reason=SMALL, proof=hardly),
    Flip("std", {"std": IMAGENET_STD[::-1]}, reason=SMALL, proof=hardly),
    Flip("mean", {"mean": NOUGHT, "std": (255.0,) * 3}),
    Flip("mean", {"mean": NOUGHT, "std": (1.0,) * 3}),
    Flip("mean", {"mean": (127.5,) * 3, "std": (127.5,) * 3}),
    Flip("size", {"size": ImageSize(250, 250)}),
    Flip("size", {"size": WIDE}),
    Flip("size", {"size": ImageSize(128, 128)}, reason=SCALE, proof=recorded_nowhere),
    Flip("size", {"size": ImageSize(320, 320)}, reason=SCALE, proof=recorded_nowhere),
    Flip(
        "format",
        {"format": InputFormat.UINT8_NHWC},
        reason="the graph normalises as the program would, and answers alike",
        proof=alike,
    ),
    Flip("color", {"color": "BGR"}),
    Flip("resize", {"resize": "nearest"}),
    Flip("fit", evaluation={"fit": FitOptions()}, data="wide"),
    Flip(
        "fit",
        evaluation={"fit": FitOptions(Fit.PAD)},
        reason="images of the input's shape need no filling",
        proof=alike,
    ),
    Flip(
        "fit",
        evaluation={"fit": SLIDE},
        reason="images of the input's size are one window",
        proof=alike,
    ),
    Flip(
        "fit",
        evaluation={"fit": FitOptions(Fit.PAD)},
        data="wide",
        reason=ASKED,
        proof=shown_with_the_figure,
    ),
    Flip(
        "stride",
        evaluation={"fit": replace(SLIDE, stride=ImageSize(32, 32))},
        reason=ASKED,
        proof=shown_with_the_figure,
    ),
    Flip("stride", evaluation={"fit": replace(SLIDE, stride=ImageSize(512, 512))}),
    Flip(
        "flip",
        evaluation={"fit": FitOptions(flip=True)},
        reason=ASKED,
        proof=shown_with_the_figure,
    ),
    Flip(
        "scales",
        evaluation={"fit": replace(SLIDE, scales=(0.5, 1.0))},
        reason=ASKED,
        proof=shown_with_the_figure,
    ),
    Flip("labels_from", evaluation={"labels_from": 0}),
    Flip("labels_from", data="from 0"),
    Flip("labels_from", evaluation={"labels_from": 1}, data="from 0"),
    Flip(
        "labels",
        evaluation={"labels": LabelOrientation.STORED},
        reason="no image of the set is turned by EXIF",
        proof=alike,
    ),
    Flip("layout", evaluation={"layout": Layout.CITYSCAPES}),
    Flip("layout", evaluation={"layout": Layout.IMAGENET}),
    Flip(
        "ignore_index",
        evaluation={"ignore_index": 0},
        reason="the class is left out by name, and has an IoU of nought in the table",
        proof=not_counted,
    ),
]
# Fields that change no image, and no class of a pixel.
OTHERS = {"samples", "classes"}
EXPORT = {"size", "input_format", "mean", "std"}
TITLES = [f"{flip.option}-{index}" for index, flip in enumerate(FLIPS)]


@pytest.mark.parametrize("flip", FLIPS, ids=TITLES)
def test_a_wrong_value_is_told_or_cannot_be(flip: Flip) -> None:
    words, found = outcome(flip)
    assert bool(flip.reason) == (flip.proof is not None)
    if flip.proof is None:
        assert words, f"a figure is wrong without a word: {found}"
        return
    assert found is not None, f"it can be told: {words}"
    assert flip.proof(flip, found), f"it is not so that {flip.reason}"
    assert not words or flip.reason == ASKED, "it can be told"


def test_the_right_values_bring_no_word() -> None:
    words, found = outcome(Flip(""))
    assert words == []
    assert found is not None
    assert found.score == right() > 0.75


def test_the_order_of_channels_changes_these_scenes_hardly() -> None:
    # Digits have any colour: a network that reads blue for red is nearly as good here, and its
    # first layer sees nearly the same, so neither figures nor weights tell. The order of the
    # means is what is seen.
    straight, swapped = measured(Flip("")), measured(Flip(""), swapped=True)
    assert straight.figures["pixel_accuracy"] - swapped.figures["pixel_accuracy"] < 0.02


def test_an_array_of_the_other_format_is_refused() -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    formats = [Preparation(SIZE, each) for each in InputFormat]
    for ours, theirs in (formats, formats[::-1]):
        runner = prepared(ours).runner
        with pytest.raises(HrvitDeployError, match="failed on"):
            runner.run({"image": prepare(pixels, theirs)})


def test_every_option_that_changes_an_image_is_in_the_table() -> None:
    tried = {flip.option for flip in FLIPS}
    known = {
        *(each.name for each in fields(Preparation)),
        *(each.name for each in fields(FitOptions)),
        *(each.name for each in fields(EvaluateOptions)),
    }
    assert known - OTHERS == tried
    assert {each.name for each in fields(ExportOptions)} >= EXPORT
