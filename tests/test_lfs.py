"""A pointer of Git LFS is named for what it is, wherever a file may be given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.networks import TINY
from support.small_artefacts import artefact

from hrvit_deploy.artefact import open_artefact, read_sidecar
from hrvit_deploy.classes import read_classes
from hrvit_deploy.datasets import Layout, Sample, read_labels
from hrvit_deploy.errors import InputError
from hrvit_deploy.foreign.read import read_graph
from hrvit_deploy.image_files import listed_images
from hrvit_deploy.images import load_image
from hrvit_deploy.model.checkpoint_file import read_file
from hrvit_deploy.quantization.calibration.ranges import read_ranges
from hrvit_deploy.quantization.import_qdq import import_qdq

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 78643200\n"
READERS: dict[str, Callable[[Path], Any]] = {
    "b1.onnx": open_artefact,
    "b1.plan": open_artefact,
    "adopted.onnx": read_graph,
    "quantized.onnx": lambda path: import_qdq(path, TINY),
    "b1.json": read_sidecar,
    "ranges.json": read_ranges,
    "b1.pth": read_file,
    "b1.safetensors": read_file,
    "photo.jpg": load_image,
    "labels.png": lambda path: read_labels(Sample(path, path), Layout.ADE20K),
    "classes.txt": read_classes,
    "images.txt": listed_images,
}


def refusal(reader: Callable[[Path], Any], path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        reader(path)
    assert "is a Git LFS pointer, not the" in caught.value.message
    assert caught.value.hint == "run git lfs pull"
    return caught.value


@pytest.mark.parametrize("name", READERS)
def test_a_pointer_is_named_and_how_to_get_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(POINTER)
    assert str(path) in refusal(READERS[name], path).message


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
def test_a_pointer_in_the_place_of_either_file_of_an_artefact_is_named(
    tmp_path: Path, suffix: str
) -> None:
    made = artefact(tmp_path)
    made.path.with_suffix(suffix).write_text(POINTER)
    assert f"small{suffix}" in refusal(open_artefact, made.path).message
