"""Digit scenes: handwriting on photographs, a small set for semantic segmentation.

Usage: python examples/digit_scenes/scenes.py FOLDER [--count 200] [--training 64]
           [--size 256x256]

Real handwriting (scikit-learn's 1,797 digits) lies at random places, sizes, slants,
contrasts and overlaps on crops of real photographs (scikit-learn's china and flower).
Eleven classes: the background, then the digits 0 to 9. A scene is made from its split,
its number and the seed alone, so any number of them is at hand and none is stored.

Training and validation share nothing: every fourth digit and the rightmost 192 columns of
both photographs are for validation only.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from hrvit_deploy.images import photographs
from hrvit_deploy.options import ImageSize, parse_size

SIZE = ImageSize(256, 256)
CLASSES = ("background", *map(str, range(10)))

HELD_OUT_DIGITS = 4  # every fourth
HELD_OUT_COLUMNS = 192
CROP_SIDES = (80, 192)  # pixels of the photograph
ATTEMPTS = 8

Pixels = NDArray[np.uint8]


class Split(StrEnum):
    """Which digits and which columns of the photographs."""

    TRAINING = "training"
    VALIDATION = "validation"


@dataclass(frozen=True)
class Level:
    """How hard scenes are.

    Attributes:
        sides: Of a digit, in pixels of the scene, at the least and at the most.
        room: Pixels of the scene to a digit, likewise.
        turn: Largest, in radians.
        slant: Largest, in pixels to a pixel.
        contrast: Least distance between a digit's colour and the mean of what it lies on;
            black to white is 441.
        overlap: Share of an earlier digit that a later one may hide.
        blend: Largest share of a second digit of the same class in a digit; two hands make
            a third.
        stroke: Largest change of the grey value at which a stroke's edge lies.
        tint: Largest change of a background's colours, as a share; where it is not 0,
            backgrounds are also turned by right angles.
    """

    sides: tuple[int, int]
    room: tuple[int, int]
    turn: float
    slant: float
    contrast: float
    overlap: float
    blend: float = 0.0
    stroke: float = 0.0
    tint: float = 0.0


LEVELS = {
    "plain": Level((64, 112), (115**2, 180**2), math.radians(7), 0.12, 120.0, 0.1),
    "hard": Level((48, 104), (90**2, 160**2), math.radians(12), 0.2, 90.0, 0.25),
    # To train on: what is plain, in more hands and before more backgrounds.
    "varied": Level(
        (60, 116), (105**2, 170**2), math.radians(10), 0.18, 110.0, 0.12, 0.5, 0.06, 0.3
    ),
}
PLAIN = "plain"


class Scene(NamedTuple):
    """A picture and what is where in it.

    Attributes:
        pixels: ``H x W x 3`` uint8, RGB.
        labels: ``H x W`` uint8, indices into :data:`CLASSES`.
    """

    pixels: Pixels
    labels: Pixels


@dataclass(frozen=True)
class _Material:
    digits: NDArray[np.float32]
    names: NDArray[np.int64]
    photographs: tuple[Pixels, ...]


@cache
def _material(split: Split) -> _Material:
    digits = load_digits()
    held_out = np.arange(len(digits.target)) % HELD_OUT_DIGITS == 0
    mine = held_out if split is Split.VALIDATION else ~held_out
    columns = slice(-HELD_OUT_COLUMNS, None)
    if split is Split.TRAINING:
        columns = slice(None, -HELD_OUT_COLUMNS)
    return _Material(
        (digits.images[mine] / 16).astype(np.float32),
        digits.target[mine],
        tuple(photograph.pixels[:, columns] for photograph in photographs()),
    )


def make_scene(
    index: int, split: Split, size: ImageSize = SIZE, *, seed: int = 0, level: str = PLAIN
) -> Scene:
    """The scene of that number; the same arguments give the same scene everywhere."""
    material, hard = _material(split), LEVELS[level]
    generator = np.random.default_rng((seed, list(Split).index(split), index))
    canvas = _background(material, size, hard, generator)
    labels = np.zeros(size, np.uint8)
    owners = np.zeros(size, np.int64)
    area = size.height * size.width
    count = max(1, round(area / generator.uniform(*hard.room)))
    for number in range(1, count + 1):
        chosen = generator.integers(len(material.names))
        digit = _blend(material, int(chosen), hard, generator)
        alpha = _draw(digit, size, hard, generator)
        window = _place(alpha, owners, hard, generator)
        if window is None:
            continue
        colour = _colour(canvas[window], alpha, hard, generator)
        canvas[window] += alpha[..., None] * (colour - canvas[window])
        inside = alpha > 0.5
        labels[window][inside] = material.names[chosen] + 1
        owners[window][inside] = number
    noise = generator.normal(0, generator.uniform(0, 6), canvas.shape)
    return Scene((canvas + noise).clip(0, 255).round().astype(np.uint8), labels)


def scenes(
    count: int, split: Split, size: ImageSize = SIZE, *, seed: int = 0
) -> Iterator[Scene]:
    """The first so many scenes of a split."""
    return (make_scene(index, split, size, seed=seed) for index in range(count))


def _background(
    material: _Material, size: ImageSize, level: Level, generator: np.random.Generator
) -> NDArray[np.float32]:
    """A crop of a photograph at the scene's size, some mirrored, brighter or darker."""
    pixels = material.photographs[generator.integers(len(material.photographs))]
    longest = max(size)
    scale = generator.uniform(*CROP_SIDES) / longest
    rows, columns = (max(1, round(side * scale)) for side in size)
    top = generator.integers(pixels.shape[0] - rows, endpoint=True)
    left = generator.integers(pixels.shape[1] - columns, endpoint=True)
    crop = Image.fromarray(pixels[top : top + rows, left : left + columns])
    enlarged = crop.resize((size.width, size.height), Image.Resampling.BICUBIC)
    canvas: NDArray[Any] = np.asarray(enlarged, np.float32)
    if generator.random() < 0.5:
        canvas = canvas[:, ::-1]
    canvas = canvas * generator.uniform(0.6, 1.2)
    if level.tint:
        canvas = canvas * generator.uniform(1 - level.tint, 1 + level.tint, 3)
        canvas = canvas[..., generator.permutation(3)]
        turns = int(generator.integers(4))
        # Only a square keeps its shape when it is turned by 90 degrees.
        canvas = np.rot90(canvas, turns if size.height == size.width else turns // 2 * 2)
    return np.array(canvas, np.float32)


def _blend(
    material: _Material, chosen: int, level: Level, generator: np.random.Generator
) -> NDArray[np.float32]:
    """A digit, or what lies between it and another of its class: ``8 x 8``."""
    digit = material.digits[chosen]
    if not level.blend:
        return np.array(digit)
    others = np.flatnonzero(material.names == material.names[chosen])
    share = generator.uniform(0, level.blend)
    between: NDArray[np.float32] = digit + np.float32(share) * (
        material.digits[generator.choice(others)] - digit
    )
    return between


def _draw(
    digit: NDArray[np.float32], size: ImageSize, level: Level, generator: np.random.Generator
) -> NDArray[np.float32]:
    """One handwritten digit, enlarged, slanted and turned: its opacity, ``S x S``."""
    low, high = level.sides
    side = round(min(low * (high / low) ** generator.random(), *size))
    turn, slant = generator.uniform(-1, 1, 2) * (level.turn, level.slant)
    # From the scene's pixels to the digit's 8 x 8, about both centres.
    step = len(digit) / side
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = step * np.array([[1, slant], [0, 1]]) @ turned
    shift = np.full(2, len(digit) / 2) - matrix @ np.full(2, side / 2)
    drawn = Image.fromarray(digit).transform(
        (side, side),
        Image.Transform.AFFINE,
        (*matrix[0], shift[0], *matrix[1], shift[1]),
        Image.Resampling.BICUBIC,
    )
    # Strokes with an edge some pixels wide instead of a blur of a whole cell.
    edge = 0.25 + (generator.uniform(-level.stroke, level.stroke) if level.stroke else 0.0)
    opacity: NDArray[np.float32] = ((np.asarray(drawn) - edge) / 0.2).clip(0, 1)
    return opacity


def _place(
    alpha: NDArray[np.float32],
    owners: NDArray[np.int64],
    level: Level,
    generator: np.random.Generator,
) -> tuple[slice, slice] | None:
    """Where the digit hides little of those before it; None if that is nowhere found."""
    side = len(alpha)
    inside = alpha > 0.5
    visible = np.bincount(owners.ravel())
    for _ in range(ATTEMPTS):
        top, left = (int(generator.integers(s - side, endpoint=True)) for s in owners.shape)
        window = (slice(top, top + side), slice(left, left + side))
        hidden = np.bincount(owners[window][inside], minlength=len(visible))
        if np.all(hidden[1:] <= level.overlap * visible[1:]):
            return window
    return None


def _colour(
    under: NDArray[np.float32],
    alpha: NDArray[np.float32],
    level: Level,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """A colour that can be told from what lies under the digit."""
    weights = alpha.sum() or 1
    mean = (alpha[..., None] * under).sum(axis=(0, 1)) / weights
    while True:
        colour: NDArray[np.float32] = generator.uniform(0, 255, 3).astype(np.float32)
        if np.linalg.norm(colour - mean) >= level.contrast:
            return colour


def write_scenes(
    folder: Path,
    count: int,
    size: ImageSize = SIZE,
    *,
    split: Split = Split.VALIDATION,
    seed: int = 0,
) -> None:
    """Scenes in the layout of ADE20K's challenge.

    ``images/SPLIT/*.png`` and ``annotations/SPLIT/*.png``, whose value is the class index
    plus one, as 0 is what ADE20K ignores; and ``classes.txt``.
    """
    images, annotations = (folder / part / split for part in ("images", "annotations"))
    for made in (images, annotations):
        made.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    for index, scene in enumerate(scenes(count, split, size, seed=seed)):
        name = f"scene_{index:05}.png"
        Image.fromarray(scene.pixels).save(images / name)
        Image.fromarray(scene.labels + np.uint8(1)).save(annotations / name)


def main() -> None:
    """Write validation scenes to judge by, and training scenes to calibrate on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200, help="of validation scenes")
    parser.add_argument("--training", type=int, default=64, help="of training scenes")
    parser.add_argument("--size", default=str(SIZE))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    size = parse_size(given.size)
    for split, count in ((Split.VALIDATION, given.count), (Split.TRAINING, given.training)):
        write_scenes(given.folder, count, size, split=split, seed=given.seed)
    print(f"{given.count} and {given.training} scenes of {size} in {given.folder}")


if __name__ == "__main__":
    main()
