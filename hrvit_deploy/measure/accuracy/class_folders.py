"""Which class a folder of images is: by its name where classes have names, else by its place.

A folder too many, too few or under another name shifts every class behind it, and the figures
are those of chance. So folders are taken by name where that can be, and told or refused where
it cannot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hrvit_deploy.datasets import Dataset
from hrvit_deploy.errors import InputError

SHOWN = 3
# What people put before names so that folders sort as classes do: 001.ak47, 3_cat.
NUMBER = re.compile(r"^\d+[._\- ]+(?=\S)")


def match_folders(dataset: Dataset, names: Sequence[str], count: int) -> Dataset:
    """Give each image of a set with a folder a class the class its folder is.

    Args:
        dataset: Its labels count the folders.
        names: Of the network's classes; empty where nobody names them.
        count: How many classes the network tells apart.

    Returns:
        The set, with the classes' indices as labels, and notes on what was assumed.

    Raises:
        InputError: Folders with images are no class of the network.
    """
    filled = Counter(sample.label for sample in dataset.samples)
    if names:
        found = _by_name(dataset.classes, names)
        if found:
            strays = [index for index in range(len(dataset.classes)) if index not in found]
            _refuse_strays(dataset, names, [index for index in strays if filled[index]])
            notes = _passed_over([dataset.classes[index] for index in strays])
            return _relabelled(dataset, found, names, notes)
    if len(dataset.classes) > count and len(filled) == count:
        kept = {index: place for place, index in enumerate(sorted(filled))}
        empty = [name for index, name in enumerate(dataset.classes) if index not in filled]
        folders = [dataset.classes[index] for index in kept]
        dataset = _relabelled(dataset, kept, folders, _passed_over(empty))
    if len(dataset.classes) > count or (names and len(dataset.classes) < count):
        raise InputError(
            f"{dataset.folder} has {len(dataset.classes)} folders of classes"
            f" ({_shown(dataset.classes)}), the network tells {count} apart",
            "evaluate on the classes it was trained on, and name the folders as --classes does"
            " or move others out",
        )
    notes = tuple(_assumed(dataset.classes, names, count))
    return replace(dataset, notes=(*dataset.notes, *notes))


def _by_name(folders: Sequence[str], names: Sequence[str]) -> dict[int, int]:
    """Return the class of each folder that is called like one, by its place; maybe none."""
    for bare in (_plain, _unnumbered):
        classes = {bare(name): index for index, name in enumerate(names)}
        found = {
            place: classes[bare(folder)]
            for place, folder in enumerate(folders)
            if bare(folder) in classes
        }
        if found and len(classes) == len(names) and len(set(found.values())) == len(found):
            return found
    return {}


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_\-]+", name.strip().casefold()))


def _unnumbered(name: str) -> str:
    return _plain(NUMBER.sub("", name.strip()))


def _refuse_strays(dataset: Dataset, names: Sequence[str], strays: Sequence[int]) -> None:
    if strays:
        raise InputError(
            f"{dataset.folder} has folders that are no class of the network:"
            f" {_shown([dataset.classes[index] for index in strays])}; its classes are"
            f" {_shown(names)}",
            "rename each to its class, move it out of the data, or name the classes with"
            " --classes FILE",
        )


def _passed_over(folders: Sequence[str]) -> tuple[str, ...]:
    if not folders:
        return ()
    return (f"folders without images that are no class are passed over: {_shown(folders)}",)


def _relabelled(
    dataset: Dataset, classes: dict[int, int], names: Sequence[str], notes: tuple[str, ...]
) -> Dataset:
    samples = tuple(replace(sample, label=classes[sample.label]) for sample in dataset.samples)
    return replace(
        dataset, samples=samples, classes=tuple(names), notes=(*dataset.notes, *notes)
    )


def _assumed(folders: Sequence[str], names: Sequence[str], count: int) -> list[str]:
    """Describe what was assumed of folders that were taken by their place."""
    told = []
    if names:
        told.append(
            f"folders are not called as the classes, and are taken in their order:"
            f" {folders[0]} for {names[0]}, to {folders[-1]} for {names[-1]}; name the classes"
            " as the folders with --classes FILE if that is wrong"
        )
    elif len(folders) < count:
        told.append(
            f"{len(folders)} folders of classes for the {count} of the network are taken for"
            " the first: say which they are with --classes FILE, or make an empty folder for"
            " each class without images"
        )
    if all(folder.isdecimal() for folder in folders):
        by_number = sorted(folders, key=int)
        place = next(
            (place for place, name in enumerate(by_number) if name != folders[place]), None
        )
        if place is not None:
            told.append(
                f"folders are numbers in the order of text, as torchvision's ImageFolder has"
                f" them: {folders[place]} is class {place}; write them with leading zeros if"
                " they are the classes' indices"
            )
    return told


def _shown(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
