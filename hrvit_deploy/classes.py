"""What classes are called, and the colours they are drawn in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from hrvit_deploy.artefact import Network
from hrvit_deploy.errors import InputError
from hrvit_deploy.options import Task
from hrvit_deploy.standalone import lfs
from hrvit_deploy.standalone.names import printable

Colour = tuple[int, int, int]

# Sets whose names and colours are known, by the number of their classes.
KNOWN = {150: "ade20k", 19: "cityscapes"}
BESIDE_DATA = "classes.txt"
# What is no thing of its own: pictures show through it, and label maps have it black, as
# Pascal VOC's have.
BACKGROUND, BACKGROUND_COLOUR = "background", (0, 0, 0)
# Colours of all other classes, each as far from those before it as can be; see
# tools/class_colours.py.
TABLE = "glasbey"


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
    """Return a colour for that class, unlike those of all before it; always the same.

    There are 256; a class beyond takes the colour of one that came before.
    """
    colours = _table()
    return colours[index % len(colours)]


@cache
def _table() -> tuple[Colour, ...]:
    lines = _palette(TABLE).splitlines()
    return tuple(_from_hex(line.partition("\t")[2]) for line in lines)


def read_classes(path: Path) -> ClassSet:
    """Read one class a line: its name, and after a tab ``#rrggbb`` if it has a colour.

    Raises:
        InputError: The file cannot be read, or a line is not of that form.
    """
    if lfs.is_pointer_file(path):
        raise InputError(f"{path} is a Git LFS pointer, not the names", lfs.HINT)
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
    return _parse(_palette(name), name)


def _palette(name: str) -> str:
    path = resources.files("hrvit_deploy") / "palettes" / f"{name}.txt"
    return path.read_text(encoding="utf-8")


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
    if count == 1:
        raise InputError(
            f"{network.title} returns one score, and the largest of one is always the first",
            "two channels, nought and the score, decide as a score and a threshold do",
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


def names_of(
    network: Network, requested: str = "", folder: Path | None = None
) -> tuple[str, ...]:
    """Return what somebody calls the network's classes; nothing where nobody does.

    Args:
        network: Its sidecar may name them.
        requested: As :func:`choose_classes` takes it.
        folder: Of the data.

    Raises:
        InputError: As :func:`choose_classes` does.
    """
    chosen = choose_classes(network, requested, folder).names
    made_up = chosen == tuple(map(str, range(network.num_classes)))
    named = bool(requested) or len(network.class_names) == network.num_classes
    return () if made_up and not named else chosen


def _recoloured(chosen: ClassSet) -> ClassSet:
    """Return a known set, recognised by its names, in its own colours."""
    known = known_classes(KNOWN[len(chosen)]) if len(chosen) in KNOWN else chosen
    return known if known.names == chosen.names else chosen
