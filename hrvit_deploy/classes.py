"""What classes are called, and the colours they are drawn in."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hrvit_deploy.artefact import Network
from hrvit_deploy.errors import InputError
from hrvit_deploy.options import Task
from hrvit_deploy.standalone.names import printable

Colour = tuple[int, int, int]

# Sets whose names and colours are known, by the number of their classes.
KNOWN = {150: "ade20k", 19: "cityscapes"}
BESIDE_DATA = "classes.txt"
# What is no thing of its own: pictures show through it, and label maps have it black, as
# Pascal VOC's have.
BACKGROUND, BACKGROUND_COLOUR = "background", (0, 0, 0)
# Turning the hue by the golden section keeps any number of them apart; neighbours in
# hue then differ in saturation and value.
GOLDEN = 0.6180339887498949
TONES = ((0.9, 1.0), (1.0, 0.55), (0.4, 0.95), (0.5, 0.6), (0.7, 0.8))


@dataclass(frozen=True)
class ClassSet:
    """Names and colours, one of each a class.

    Attributes:
        names: All different.
        colours: Red, green and blue, 0..255.
        clear: Indices of classes that overlays leave as the picture is.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    clear: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.names)


def class_set(names: Iterable[str], colours: Iterable[Colour | None] = ()) -> ClassSet:
    """Make a set of names with the colours given, and with others where none is.

    A background without a colour is clear. A name that comes again gets its number in
    brackets: ImageNet has two cranes. Controls in names are escaped.
    """
    distinct: dict[str, None] = {}
    for name in map(printable, names):
        chosen, count = name, 1
        while chosen in distinct:
            count += 1
            chosen = f"{name} ({count})"
        distinct[chosen] = None
    given = dict(zip(distinct, [*colours, *[None] * len(distinct)], strict=False))
    clear = frozenset(
        index
        for index, (name, colour) in enumerate(given.items())
        if colour is None and name.lower() == BACKGROUND
    )
    usual = (
        BACKGROUND_COLOUR if index in clear else colour_of(index) for index in range(len(given))
    )
    chosen_colours = (
        other if colour is None else colour
        for colour, other in zip(given.values(), usual, strict=True)
    )
    return ClassSet(tuple(distinct), tuple(chosen_colours), clear)


def colour_of(index: int) -> Colour:
    """Return a colour for that class, unlike those of the classes near it; always the same."""
    saturation, value = TONES[index % len(TONES)]
    parts = colorsys.hsv_to_rgb(index * GOLDEN % 1, saturation, value)
    red, green, blue = (round(part * 255) for part in parts)
    return red, green, blue


def read_classes(path: Path) -> ClassSet:
    """Read one class a line: its name, and after a tab ``#rrggbb`` if it has a colour.

    Raises:
        InputError: The file cannot be read, or a line is not of that form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(
            f"cannot read the classes in {path}: {reason}",
            "give ade20k, cityscapes, or a text file with one name a line",
        ) from error
    return _parse(text, str(path))


def _parse(text: str, origin: str) -> ClassSet:
    names: list[str] = []
    colours: list[Colour | None] = []
    for number, line in enumerate(text.rstrip().splitlines(), 1):
        name, _, colour = (part.strip() for part in line.partition("\t"))
        if not name or (colour and not re.fullmatch(r"#[0-9a-fA-F]{6}", colour)):
            raise InputError(
                f"line {number} of {origin} is not a class: {line!r}",
                "write its name, and after a tab its colour as #rrggbb if it has one",
            )
        names.append(name)
        colours.append(_from_hex(colour) if colour else None)
    return class_set(names, colours)


def _from_hex(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def known_classes(name: str) -> ClassSet:
    """Return ``ade20k`` or ``cityscapes``, as those sets are published."""
    palette = resources.files("hrvit_deploy") / "palettes" / f"{name}.txt"
    return _parse(palette.read_text(encoding="utf-8"), name)


def named_classes(requested: str) -> ClassSet:
    """Return ``ade20k``, ``cityscapes``, or the classes of a file.

    Raises:
        InputError: The file cannot be read, or a line of it is no class.
    """
    if requested in KNOWN.values():
        return known_classes(requested)
    return read_classes(Path(requested))


def choose_classes(
    network: Network,
    requested: str = "",
    folder: Path | None = None,
    folders: Sequence[str] = (),
) -> ClassSet:
    """Choose the classes of a network.

    Args:
        network: Its sidecar may name them.
        requested: ``ade20k``, ``cityscapes`` or a file; empty for the first there is of: the
            sidecar's names, those beside the data, the known set of that many classes,
            numbers.
        folder: Of the data; its ``classes.txt`` is passed over if it names another number.
        folders: Names of class folders in the data, the first of the network's.

    Raises:
        InputError: What was asked for cannot be read, or names another number of classes.
    """
    _ = network.known_task
    count = network.num_classes
    if not count:
        raise InputError(
            f"nobody said how many classes {network.title} tells apart",
            "run hrvit-deploy adopt on its graph again, with --num-classes or --classes",
        )
    if requested:
        chosen = named_classes(requested)
        if len(chosen) != count:
            raise InputError(
                f"{requested} names {len(chosen)} classes, the network tells {count} apart",
                "give the classes it was trained on with --classes, or leave that out",
            )
        return chosen
    if len(network.class_names) == count:
        return _recoloured(class_set(network.class_names))
    beside = folder / BESIDE_DATA if folder is not None else None
    if beside is not None and beside.is_file() and len(listed := read_classes(beside)) == count:
        return listed
    if network.task is Task.SEGMENT and count in KNOWN:
        return known_classes(KNOWN[count])
    return class_set([*folders, *map(str, range(len(folders), count))])


def _recoloured(chosen: ClassSet) -> ClassSet:
    """Return a known set, recognised by its names, in its own colours."""
    known = known_classes(KNOWN[len(chosen)]) if len(chosen) in KNOWN else chosen
    return known if known.names == chosen.names else chosen
