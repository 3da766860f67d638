"""Each step of the C++ library gives Python's very bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as PILLOW
from support import small_artefacts
from support.cpp_probe import Probe

from hrvit_deploy.artefact import Network, Preparation, Weights
from hrvit_deploy.classes import choose_classes, known_classes
from hrvit_deploy.images import Pixels, photographs, prepare
from hrvit_deploy.inference.score_maps import fill_up, inside
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import ImageSize, InputFormat, Task
from hrvit_deploy.runners.cores import usable_cores
from hrvit_deploy.standalone.postprocess import WholeScoreMap, label_map
from hrvit_deploy.standalone.preprocess import resize
from hrvit_deploy.standalone.resample import enlarge

pytest_plugins = ["support.cpp_fixtures"]

# Before 13.0, Pillow always resized across first, which rounds some pixels elsewhere.
ROUNDING = 0 if tuple(map(int, PILLOW.split(".")[:2])) >= (13, 0) else 1
SIZES = (
    ((427, 640), (512, 512)),
    ((427, 640), (64, 96)),
    ((427, 640), (1024, 2048)),
    ((33, 517), (224, 32)),
    ((64, 50), (64, 128)),
    ((50, 96), (32, 96)),
    ((1, 1), (32, 64)),
    ((1000, 3), (32, 32)),
    ((64, 96), (64, 96)),
)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    generator = np.random.default_rng(seed)
    # Black and white corners, which rounding would overflow at.
    pixels = generator.choice([0, 1, 127, 128, 254, 255], (height, width, 3))
    return pixels.astype(np.uint8)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_resizing_is_pillows(
    probe: Probe, before: tuple[int, int], after: tuple[int, int]
) -> None:
    pixels = noise(*before)
    ours = probe.array("resize", *after, *probe.images([pixels]), dtype=np.uint8)
    size = (after[1], after[0])
    theirs = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    apart = np.abs(ours.reshape(theirs.shape).astype(int) - theirs).max()
    assert apart <= ROUNDING


def test_resizing_is_pillows_at_any_size(probe: Probe) -> None:
    generator = np.random.default_rng(1)
    for seed in range(20):
        before, after = generator.integers(1, 300, (2, 2)).tolist()
        test_resizing_is_pillows(probe, (before[0], before[1] + seed), (after[0], after[1]))


@pytest.mark.parametrize("input_format", InputFormat)
@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_batches_are_prepared_alike(
    probe: Probe, tmp_path: Path, input_format: InputFormat, fit: str
) -> None:
    preparation = Preparation(ImageSize(64, 96), input_format, mean=(120.5, 99.9, 310.0))
    made = small_artefacts.artefact(tmp_path, preparation=preparation)
    images = [*(photograph.pixels for photograph in photographs()), noise(200, 31)]
    dtype = np.uint8 if input_format is InputFormat.UINT8_NHWC else np.float32
    words = (made.path, fit, 4, *probe.images(images))
    ours = probe.array("prepare", *words, dtype=dtype)
    theirs = [prepare(shown(image, preparation, fit), preparation) for image in images]
    batch = np.concatenate([*theirs, theirs[-1]])
    np.testing.assert_array_equal(ours.reshape(batch.shape), batch)


def shown(pixels: Pixels, preparation: Preparation, fit: str) -> Pixels:
    if fit == "stretch":
        return pixels
    part = inside(pixels, preparation.size)
    return fill_up(resize(pixels, part), preparation.size, preparation)


def scores_of(*shape: int) -> NDArray[np.float32]:
    scores = np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)
    scores[0, 0, 0], scores[-1, -1, -1], scores[1, 3, 4] = np.nan, np.inf, -np.inf
    scores[:, 5:7, 5:9] = 1.5  # ties fall to the lower class
    return scores


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # infinities, meant
@pytest.mark.parametrize("wanted", [(16, 24), (427, 640), (7, 5), (16, 48), (31, 24), (1, 1)])
@pytest.mark.parametrize("part", [(16, 24), (9, 24)])
def test_scores_are_decided_alike(
    probe: Probe, wanted: tuple[int, int], part: tuple[int, int]
) -> None:
    scores = scores_of(6, 16, 24)
    words = (probe.write("scores", scores), 6, 16, 24, 16, 24, *part, *wanted)
    ours = probe.array("decide", *words).reshape(wanted)
    theirs = label_map([WholeScoreMap(scores[:, : part[0], : part[1]])], ImageSize(*wanted))
    np.testing.assert_array_equal(ours, theirs)
    assert min(wanted) < 16 or -1 in theirs


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_quarter_scores_are_enlarged_first(probe: Probe) -> None:
    scores = scores_of(5, 8, 12)
    words = (probe.write("scores", scores), 5, 8, 12, 32, 48, 30, 48, 61, 99)
    ours = probe.array("decide", *words).reshape(61, 99)
    whole = enlarge(scores[None], ImageSize(32, 48))[0, :, :30]
    np.testing.assert_array_equal(ours, label_map([WholeScoreMap(whole)], ImageSize(61, 99)))


NETWORK = Network(VARIANTS["b1"], Task.SEGMENT, 19, Weights.RANDOM)
NAMED = ("Background", "crane", "crane", "crane", "crane (2)", "vis-à-vis", "tab", "x", "y")


@pytest.mark.parametrize(
    "network",
    [
        NETWORK,
        replace(NETWORK, num_classes=150),
        replace(NETWORK, class_names=known_classes("cityscapes").names),
        replace(NETWORK, class_names=tuple(f"mine {index}" for index in range(19))),
        replace(NETWORK, num_classes=len(NAMED), class_names=NAMED),
        replace(NETWORK, num_classes=1000, task=Task.CLASSIFY),
    ],
    ids=["cityscapes", "ade20k", "told", "own", "named", "numbers"],
)
def test_classes_are_called_and_coloured_alike(
    probe: Probe, tmp_path: Path, network: Network
) -> None:
    made = small_artefacts.artefact(tmp_path, network=network)
    ours = [line.split("\t") for line in probe.text("classes", made.path).splitlines()]
    theirs = choose_classes(network)
    assert [name for name, _, _ in ours] == list(theirs.names)
    colours = [tuple(map(int, colour.split())) for _, colour, _ in ours]
    assert colours == list(theirs.colours)
    assert {i for i, (_, _, clear) in enumerate(ours) if clear == "1"} == theirs.clear


def test_cores_are_counted_alike(probe: Probe) -> None:
    assert int(probe.text("cores")) == usable_cores()
