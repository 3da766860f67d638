"""Images to predict, and the names of the files made of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hrvit_deploy.errors import InputError
from hrvit_deploy.image_files import list_images
from hrvit_deploy.standalone.names import unused_name


class Picture(NamedTuple):
    """An image, and the name of its predictions.

    Attributes:
        name: Below the output folder, without an ending; no other picture has it.
    """

    path: Path
    name: str


def name_outputs(images: Sequence[Path], folder: Path) -> list[Picture]:
    """Give every image a name of its own below the output folder.

    Args:
        images: Files, named after themselves; and folders, whose images keep their paths
            below them. Files that end alike or lie in several folders get more of a name.
        folder: Where predictions go; what lies in it is none of the images.

    Raises:
        InputError: A folder holds no image, or none that lies elsewhere than predictions.
    """
    pairs = [pair for path in images for pair in _expand(path, folder)]
    stems = Counter(_stem(relative) for _, relative in pairs)
    used: set[str] = set()
    pictures = []
    for path, relative in pairs:
        name = relative if stems[_stem(relative)] > 1 else relative.with_suffix("")
        pictures.append(Picture(path, unused_name(name.as_posix(), used)))
    return pictures


def _expand(source: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield images, and where each lies below what was given."""
    if not source.is_dir():
        yield source, Path(source.name)
        return
    out = folder.resolve()
    listed = list_images(source)
    images = [path for path in listed if not path.resolve().is_relative_to(out)]
    if listed and not images:
        raise InputError(
            f"all images in {source} lie in {folder}, where predictions go",
            "write these elsewhere with --out",
        )
    for path in images:
        yield path, path.relative_to(source)


def _stem(relative: Path) -> str:
    # Some disks take A and a for the same.
    return relative.with_suffix("").as_posix().casefold()
