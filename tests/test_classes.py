"""Classes are named by whoever knows them, and drawn in colours that can be told apart."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import pytest

from hrvit_deploy.artefact import Network, Weights
from hrvit_deploy.classes import (
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


def test_colours_are_always_the_same_and_differ() -> None:
    colours = [colour_of(index) for index in range(24)]
    assert colours == [colour_of(index) for index in range(24)]
    far = [
        sum(abs(ours - theirs) for ours, theirs in zip(one, other, strict=True))
        for one, other in combinations(colours, 2)
    ]
    assert min(far) >= 40
    assert min(sum(map(abs, map(int.__sub__, a, b))) for a, b in pairwise(colours)) >= 150


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
