"""Fonts that have the characters of a text: Pillow's own, or one that is installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
SUFFIXES = (".ttf", ".otf", ".ttc")
# No character: what a font draws for it, it draws for all that it lacks.
NO_CHARACTER = "\U0010ffff"
# Of the size at which fonts are asked what they have.
TRIAL = 24
MOST_FONTS = 4000
# Fonts that draw something for every character, and none of them as it is.
STAND_INS = ("lastresort", "adobeblank", "notdef", "fallback")
# Those with many scripts, and plain ones, come first.
PREFERRED = ("notosanscjk", "notosans", "dejavusans", "unifont", "arialunicode", "sans")


def font_for(text: str, size: int) -> Font | None:
    """Return a font that has every character of a text, in that height in pixels.

    Pillow's own where it has them; else an installed one; None where none is known to.
    """
    own = ImageFont.load_default(size)
    needed = frozenset(text) - _held(None, frozenset(text))
    if not needed:
        return own
    path = _font_with(frozenset(text))
    return None if path is None else ImageFont.truetype(path, size)


def lacking(names: Iterable[str]) -> list[str]:
    """Return the names that no font here has all characters of."""
    return [name for name in names if font_for(name, TRIAL) is None]


@lru_cache(maxsize=1024)
def _font_with(characters: frozenset[str]) -> str | None:
    return next((path for path in _installed() if _held(path, characters) == characters), None)


@lru_cache(maxsize=4096)
def _held(path: str | None, characters: frozenset[str]) -> frozenset[str]:
    """Return those of some characters that a font has; Pillow's own for None."""
    font = _opened(path)
    if not isinstance(font, ImageFont.FreeTypeFont):
        return frozenset(each for each in characters if each.isascii())
    try:
        box = _drawn(font, NO_CHARACTER)
        return frozenset(
            each for each in characters if each.isspace() or _drawn(font, each) != box
        )
    except (OSError, ValueError):
        return frozenset()


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _opened(path: str | None) -> Font | None:
    try:
        if path is None:
            return ImageFont.load_default(TRIAL)
        return ImageFont.truetype(path, TRIAL)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """Return the files of fonts of this machine, the likeliest first."""
    found = list(_search())[:MOST_FONTS]
    real = (path for path in found if not any(name in _plain(path) for name in STAND_INS))
    return tuple(sorted(dict.fromkeys(real), key=_rank))


def _plain(path: str) -> str:
    """Return a file's name without what differs between spellings of a font's."""
    return "".join(filter(str.isalnum, Path(path).stem.lower()))


def _rank(path: str) -> tuple[int, bool, str]:
    name = _plain(path)
    place = (index for index, wanted in enumerate(PREFERRED) if wanted in name)
    plain = not any(style in name for style in ("bold", "italic", "oblique", "mono", "light"))
    return next(place, len(PREFERRED)), not plain, path


def _search() -> Iterator[str]:
    for folder in _folders():
        for here, below, files in os.walk(folder):
            below.sort()
            yield from (
                str(Path(here, name)) for name in files if name.lower().endswith(SUFFIXES)
            )


def _folders() -> Iterator[Path]:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - there may be none
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts")
    elif sys.platform == "darwin":
        yield from (
            Path("/System/Library/Fonts"),
            Path("/Library/Fonts"),
            home / "Library/Fonts",
        )
    else:
        yield from (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
        yield from (home / ".fonts", home / ".local/share/fonts")
    # Matplotlib brings one with Greek, Cyrillic and more; it is found, not imported.
    spec = importlib.util.find_spec("matplotlib")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(root, "mpl-data", "fonts", "ttf")
