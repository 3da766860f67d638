"""Small labelled sets in the layouts of the well-known ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CITY = "aachen"


def picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Patches of colour: something for a network to see."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))


def truth(seed: int, height: int, width: int, values: Any) -> NDArray[np.uint8]:
    """Patches of those values."""
    small = np.random.default_rng(seed + 100).choice(np.array(values, np.uint8), (4, 5))
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))


def save(path: Path, values: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def ade20k(folder: Path, count: int = 3, classes: int = 5) -> Path:
    """Images of different sizes, with unlabelled pixels among the others."""
    for index in range(count):
        size = (40 + 8 * index, 56 - 4 * index)
        save(folder / f"images/validation/v{index}.png", picture(index, *size))
        labels = truth(index, *size, range(classes + 1))
        save(folder / f"annotations/validation/v{index}.png", labels)
    return folder


def cityscapes(folder: Path, values: Any, suffix: str = "labelTrainIds") -> Path:
    """One image and its labels."""
    image, labels = folder / "leftImg8bit/val" / CITY, folder / "gtFine/val" / CITY
    save(image / f"{CITY}_0_1_leftImg8bit.png", picture(0, 32, 64))
    save(labels / f"{CITY}_0_1_gtFine_{suffix}.png", np.asarray(values, np.uint8))
    return folder


def imagenet(folder: Path, names: tuple[str, ...] = ("a", "b", "c"), each: int = 3) -> Path:
    """A folder a class."""
    for index, name in enumerate(names):
        for number in range(each):
            seed = 10 * index + number
            save(folder / name / f"{number}.png", picture(seed, 40, 50 + number))
    return folder
