"""Classes are named by whoever knows them, and drawn in colours that can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import class_colours
import numpy as np
import pytest
from numpy.typing import NDArray

from hrvit_deploy.artefact import Network, Weights
from hrvit_deploy.classes import (
    Colour,
    choose_classes,
    class_set,
    colour_of,
    known_classes,
    read_classes,
)
from hrvit_deploy.errors import InputError
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import Task


def network(count: int, names: tuple[str, ...] = (), task: Task = Task.SEGMENT) -> Network:
    return Network(VARIANTS["b1"], task, count, Weights.RANDOM, class_names=names)


@pytest.mark.parametrize(
    ("name", "count", "index", "called", "colour"),
    [
        ("ade20k", 150, 0, "wall", (120, 120, 120)),
        ("ade20k", 150, 7, "bed", (204, 5, 255)),
        ("ade20k", 150, 149, "flag", (92, 0, 255)),
        ("cityscapes", 19, 0, "road", (128, 64, 128)),
        ("cityscapes", 19, 18, "bicycle", (119, 11, 32)),
    ],
)
def test_the_known_sets_are_as_published(
    name: str, count: int, index: int, called: str, colour: tuple[int, int, int]
) -> None:
    known = known_classes(name)
    assert len(known) == count
    assert len(set(known.names)) == count
    assert (known.names[index], known.colours[index]) == (called, colour)


def test_a_file_has_a_name_a_line_and_maybe_a_colour(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("sky\t#0080ff\nwet road\n", encoding="utf-8")
    found = read_classes(path)
    assert found.names == ("sky", "wet road")
    assert found.colours == ((0, 128, 255), colour_of(1))


@pytest.mark.parametrize("line", ["sky\tblue", "\t#112233", "", "sky\t#12345"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(f"road\n{line}\nsea\n")
    with pytest.raises(InputError, match="line 2 of") as caught:
        read_classes(path)
    assert "#rrggbb" in caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\xff")
    for name in ("image.txt", "nowhere.txt"):
        with pytest.raises(InputError, match=name):
            read_classes(tmp_path / name)


def test_names_that_come_again_are_told_apart() -> None:
    assert class_set(["crane", "bus", "crane"]).names == ("crane", "bus", "crane (2)")


def test_a_background_is_clear_unless_it_has_a_colour() -> None:
    clear = class_set(["Background", "sky"])
    assert (clear.clear, clear.colours[0]) == (frozenset({0}), (0, 0, 0))
    assert clear.colours[1] == class_set(["wall", "sky"]).colours[1]
    assert class_set(["background"], [(1, 2, 3)]).clear == frozenset()


def to_lab(colours: Sequence[Colour]) -> NDArray[np.float64]:
    """CIELAB under D65 of sRGB colours, as IEC 61966-2-1 and CIE 15 have it."""
    shares = np.array(colours) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = linear @ np.transpose(to_xyz) / [0.95047, 1.0, 1.08883]
    light = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = light.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def least_distance(colours: Sequence[Colour]) -> float:
    lab = to_lab(colours)
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return float(apart[np.triu_indices(len(lab), 1)].min())


def test_cielab_is_as_published() -> None:
    known = {(255, 0, 0): (53.24, 80.09, 67.20), (0, 0, 255): (32.30, 79.19, -107.86)}
    np.testing.assert_allclose(to_lab(list(known)), list(known.values()), atol=0.02)
    assert least_distance([(255, 255, 255), (0, 0, 0)]) == pytest.approx(100, abs=0.01)


# The least distance that any two of so many colours may have: two that touch are told apart
# from about 2, and laid half over a photograph they keep about half of it.
@pytest.mark.parametrize(
    ("most", "least"), [(11, 40), (21, 25), (40, 18), (64, 14), (100, 12), (150, 9), (256, 7)]
)
def test_colours_are_always_the_same_and_can_be_told_apart(most: int, least: float) -> None:
    colours = [colour_of(index) for index in range(most)]
    assert least_distance(colours) >= least
    # No picture's black or white, and nothing that is undecided.
    assert least_distance([colours[0], (0, 0, 0), (255, 255, 255)]) > 40
    assert min(np.linalg.norm(to_lab(colours), axis=1)) > 40


def test_classes_take_the_colours_in_order_whatever_number_there_is() -> None:
    for count in (2, 11, 256):
        colours = class_set(map(str, range(count))).colours
        assert colours == tuple(colour_of(index) for index in range(count))
    assert colour_of(256) == colour_of(0)


def test_the_table_is_what_the_library_makes() -> None:
    assert class_colours.TABLE.read_text(encoding="utf-8") == class_colours.table()


def test_the_sidecar_comes_first_then_the_data_then_what_is_known(tmp_path: Path) -> None:
    names = tuple(f"class {index}" for index in range(19))
    (tmp_path / "classes.txt").write_text("\n".join(f"n{index}" for index in range(19)))
    assert choose_classes(network(19, names), folder=tmp_path).names == names
    assert choose_classes(network(19), folder=tmp_path).names[0] == "n0"
    assert choose_classes(network(19)).names[0] == "road"
    assert choose_classes(network(150), folder=tmp_path).names[0] == "wall"
    assert choose_classes(network(19, task=Task.CLASSIFY)).names[:2] == ("0", "1")
    assert choose_classes(network(3), folders=("cat", "dog")).names == ("cat", "dog", "2")


def test_a_known_set_in_the_sidecar_keeps_its_colours() -> None:
    named = network(19, known_classes("cityscapes").names)
    assert choose_classes(named).colours == known_classes("cityscapes").colours


def test_what_is_asked_for_must_fit(tmp_path: Path) -> None:
    assert choose_classes(network(150), "ade20k").names[1] == "building"
    with pytest.raises(InputError, match="names 19 classes, the network tells 5") as caught:
        choose_classes(network(5), "cityscapes")
    assert "--classes" in caught.value.hint
