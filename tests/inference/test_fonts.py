"""Legends are written in a font that has the characters, or tell the index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from hrvit_deploy.classes import class_set
from hrvit_deploy.inference import fonts
from hrvit_deploy.inference.overlay import Legend, entries_of

GREEK = "πεζός"
CHINESE = "背景"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of fonts that is all there is; matplotlib's DejaVu can be put into it."""
    monkeypatch.setattr(fonts, "_folders", lambda: iter((tmp_path,)))
    for cached in (fonts._installed, fonts._font_with, fonts._held, fonts._opened):
        cached.cache_clear()
    yield tmp_path
    for cached in (fonts._installed, fonts._font_with, fonts._held, fonts._opened):
        cached.cache_clear()


def put_dejavu(folder: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    source = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    (folder / "deep").mkdir()
    (folder / "deep" / "DejaVuSans.ttf").write_bytes(source.read_bytes())
    (folder / "a-broken-sans.ttf").write_bytes(b"no font")


def test_latin_needs_no_other_font(installed: Path) -> None:
    own = fonts.font_for("a wall", 20)
    assert isinstance(own, ImageFont.FreeTypeFont)
    assert own.getname() == ImageFont.load_default(20).getname()  # type: ignore[union-attr]
    assert fonts.lacking(["wall", "a road", "100%"]) == []


def test_a_font_is_found_that_has_the_characters(installed: Path) -> None:
    put_dejavu(installed)
    chosen = fonts.font_for(GREEK, 20)
    assert isinstance(chosen, ImageFont.FreeTypeFont)
    assert chosen.getname()[0] == "DejaVu Sans"
    assert chosen.size == 20
    assert fonts.lacking([GREEK, "дорога", CHINESE, "straße", "x"]) == [CHINESE]


def test_a_font_that_draws_boxes_for_all_is_none(installed: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    source = Path(matplotlib.get_data_path(), "fonts", "ttf", "LastResortHE-Regular.ttf")
    if not source.is_file():
        pytest.skip("this matplotlib has no font of last resort")
    (installed / source.name).write_bytes(source.read_bytes())
    assert fonts.lacking([GREEK, CHINESE]) == [GREEK, CHINESE]


def test_without_one_the_names_are_told_of(installed: Path) -> None:
    assert fonts.font_for(GREEK, 20) is None
    assert fonts.lacking(["x", GREEK, CHINESE]) == [GREEK, CHINESE]


def test_a_legend_tells_the_index_of_a_name_it_cannot_write(installed: Path) -> None:
    put_dejavu(installed)
    labels = np.array([[2, 2, 2, 1, 1, 0]], np.int32)
    legend = Legend(entries_of(labels, class_set(["wall", GREEK, CHINESE])), 20)
    assert [name for name, _ in legend._labels] == ["class 2", GREEK, "wall"]
    assert legend.draw(3).width > 0
