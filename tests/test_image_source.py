"""How many images are compared: as many as there is time for, or as many as were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.options import ImageSize


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (ImageSize(224, 224), 8),
        (ImageSize(512, 512), 8),
        (ImageSize(512, 1024), 4),
        (ImageSize(1024, 1024), 2),
        (ImageSize(1024, 2048), 2),
    ],
)
def test_large_images_are_fewer(size: ImageSize, count: int) -> None:
    assert ImageSource().count(size) == count
    assert ImageSource(limit=5).count(size) == 5


def test_no_more_than_there_are(tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"{index}.png")

    small, large = ImageSize(64, 64), ImageSize(1024, 1024)

    assert (ImageSource(tmp_path).count(small), ImageSource(tmp_path).count(large)) == (3, 2)
    for size in (small, large):
        assert len(list(ImageSource(tmp_path).open(size))) == ImageSource(tmp_path).count(size)
    assert ImageSource(tmp_path, 1).count(small) == 1
