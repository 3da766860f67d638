"""Calibration looks at what it is fed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import small_artefacts
from support.graph_making import floats
from support.measured_graphs import save_images

from hrvit_deploy.artefact import Artefact, Preparation
from hrvit_deploy.errors import InputError
from hrvit_deploy.images import prepare
from hrvit_deploy.options import CalibrationOptions, ImageSize, Method
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.calibration.checks import warn_of_one_class
from hrvit_deploy.quantization.calibration.collect import collect
from hrvit_deploy.quantization.calibration.images import open_pictures

OPTIONS = CalibrationOptions(Method.MINMAX)
SIZE = small_artefacts.SIZE
IMAGENET = Preparation(ImageSize(SIZE, SIZE))


def pixels(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def feed(artefact: Artefact, place: Path) -> SilentProgress:
    progress = SilentProgress()
    pictures = open_pictures(place, OPTIONS, artefact.manifest.preparation)
    collect(artefact, pictures, progress)
    return progress


def stored(folder: Path, array: NDArray[Any]) -> Path:
    np.savez(folder / "arrays.npz", array)
    return folder / "arrays.npz"


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (1.0, r"holds numbers from 0 to 255, and images normalised .* from -2\.118 to 2\.64"),
        (1 / 255, r"all floats to calibrate on lie from 0 to 1, and images normalised"),
    ],
)
def test_floats_that_are_not_normalised_are_refused(
    tmp_path: Path, scale: float, words: str
) -> None:
    raw = pixels(4).transpose(0, 3, 1, 2).astype(np.float32) * scale
    raw[0, 0, 0, 0], raw[0, 0, 0, 1] = 0, 255 * scale
    with pytest.raises(InputError, match=words) as caught:
        feed(small_artefacts.artefact(tmp_path), stored(tmp_path, raw))
    assert "uint8 RGB" in caught.value.hint


def test_floats_from_0_to_1_that_a_filter_overshot_are_refused(tmp_path: Path) -> None:
    raw = pixels(4).transpose(0, 3, 1, 2).astype(np.float16) / np.float16(255)
    raw[0, 0, 0, 0], raw[1, 0, 0, 0] = -0.04, 1.04
    with pytest.raises(InputError, match="from 0 to 1, and images"):
        feed(small_artefacts.artefact(tmp_path), stored(tmp_path, raw))


def test_bytes_that_were_scaled_to_0_and_1_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pixel of the uint8 images .* is above 1"):
        feed(small_artefacts.artefact(tmp_path), stored(tmp_path, pixels(4) // 128))


def test_floats_that_are_normalised_are_taken(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    floats_ = np.concatenate([prepare(image, IMAGENET) for image in pixels(4)])
    assert feed(made, stored(tmp_path, floats_)).warnings == []
    # Of a network that takes 0..1, so are these.
    scaled = replace(IMAGENET, mean=(0.0,) * 3, std=(255.0,) * 3)
    made = small_artefacts.artefact(tmp_path, preparation=scaled)
    floats_ = np.concatenate([prepare(image, scaled) for image in pixels(4)])
    assert feed(made, stored(tmp_path, floats_)).warnings == []


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_no_numbers_are_refused(tmp_path: Path, broken: float) -> None:
    array = floats(3, 3, SIZE, SIZE).clip(-2, 2)
    array[2, 1, 5, 5] = broken
    with pytest.raises(InputError, match=r"arr_0\.npy\[2\] holds NaN or infinite"):
        feed(small_artefacts.artefact(tmp_path), stored(tmp_path, array))


def test_images_of_one_colour_are_refused_and_some_are_told(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    black = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(InputError, match="all 4 images to calibrate on are of one colour"):
        feed(made, save_images(tmp_path / "black", black))
    with pytest.raises(InputError, match="all 4 images to calibrate on are of one colour"):
        feed(made, stored(tmp_path, black))
    black[1:] = pixels(3)
    warned = feed(made, save_images(tmp_path / "some", black)).warnings
    assert [text for text in warned if "1 of 4 images" in text]


def test_one_class_is_told(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    red = pixels(6)
    red[..., 0] //= 2
    red[..., 0] += 128
    red[..., 1:] //= 4
    progress = SilentProgress()
    place = save_images(tmp_path / "red", red)
    warn_of_one_class(made, open_pictures(place, OPTIONS, IMAGENET), progress)
    assert "takes each of the images calibrated on for class 0" in progress.warnings[0]

    red[3:] = red[3:, ..., ::-1]
    progress = SilentProgress()
    place = save_images(tmp_path / "both", red)
    warn_of_one_class(made, open_pictures(place, OPTIONS, IMAGENET), progress)
    assert not progress.warnings
