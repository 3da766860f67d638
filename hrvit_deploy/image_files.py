"""Find image files: those of a folder and below it, or those that a list names."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hrvit_deploy.errors import InputError
from hrvit_deploy.options import join
from hrvit_deploy.standalone import lfs
from hrvit_deploy.standalone.decode import SUFFIXES

# Pictures of other kinds: looked for so that they can be named.
OTHER_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("apng", "avif", "avifs", "dds", "emf", "eps", "exr", "gif", "hdr", "heic", "heif"),
        *("hif", "ico", "j2k", "jfif", "jif", "jp2", "jpe", "jpx", "jxl", "mpo", "pbm", "pcx"),
        *("pfm", "pnm", "psd", "svg", "svgz", "tga", "wmf", "xcf"),
        # Cameras' own.
        *("arw", "cr2", "cr3", "dng", "nef", "orf", "raf", "rw2"),
    )
)
# Folders that programs leave behind, beside those that begin with a dot.
LEFT_BEHIND = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")
# Folders of label maps, and what the folder of their images is called beside them.
LABEL_FOLDERS = {
    "annotations": "images",
    "ann_dir": "img_dir",
    "gtCoarse": "leftImg8bit",
    "gtFine": "leftImg8bit",
    "SegmentationClass": "JPEGImages",
    "SegmentationObject": "JPEGImages",
}
# Subfolders of such a folder: validation, and a city.
LABEL_DEPTH = 2
NAMED = 3
LIST = "a list with a path a line"


@dataclass(frozen=True)
class Listing:
    """Images, and what lies beside them.

    Attributes:
        images: Sorted by path, or in the order of a list.
        passed_over: Pictures of other kinds, links that lead nowhere, folders that cannot
            be read.
        labels: Folders of label maps that were left out.
    """

    images: tuple[Path, ...]
    passed_over: tuple[Path, ...] = ()
    labels: tuple[Path, ...] = ()

    def notes(self) -> Iterator[str]:
        """Yield a line for each kind of thing that was left out."""
        if self.passed_over:
            yield passed_over_note(self.passed_over)
        for folder in self.labels:
            yield f"{folder} holds label maps and was left out; name it alone to take it"


def passed_over_note(paths: Sequence[Path]) -> str:
    """Return a line that counts and names files that were passed over."""
    count, names = len(paths), ", ".join(map(str, paths[:NAMED]))
    return (
        f"{count} {'file was' if count == 1 else 'files were'} passed over: {names}"
        f"{', ...' if count > NAMED else ''}; images end in {join(SUFFIXES)}"
    )


def is_other_picture(path: Path) -> bool:
    """Return whether a name is that of a picture that is not read, or leads nowhere."""
    suffix = path.suffix.lower()
    return suffix in OTHER_SUFFIXES or (suffix in SUFFIXES and not _is(path, Path.exists))


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is one that nobody means."""
    return path.name.startswith(".") or path.name in LEFT_BEHIND


def list_images(folder: Path) -> list[Path]:
    """Return every image below a folder, as :func:`list_folder` does."""
    return list(list_folder(folder).images)


def list_folder(folder: Path) -> Listing:
    """Find every image below a folder, by its suffix.

    Links to folders are followed, each folder once. Hidden files and folders are left out,
    and label maps where their images lie beside them in a layout that is known.

    Raises:
        InputError: There is no such folder, no image in it, or it holds label maps.
    """
    if not _is(folder, Path.is_dir):
        raise InputError(f"there is no folder {folder}", "give a folder of images")
    beside = _images_of_labels(folder)
    if beside is not None:
        raise InputError(f"{folder} holds label maps, no photographs", f"give {beside}")
    images: list[Path] = []
    others: list[Path] = []
    labels: list[Path] = []
    for entry in _walk(folder, others, labels):
        if entry.suffix.lower() in SUFFIXES and _is(entry, Path.is_file):
            images.append(entry)
        elif is_other_picture(entry):
            others.append(entry)
    if not images:
        why = f"; {passed_over_note(sorted(others))}" if others else ""
        raise InputError(
            f"there is no image in {folder}{why}",
            f"put files in it that end in {join(SUFFIXES)}",
        )
    return Listing(tuple(sorted(images)), tuple(sorted(others)), tuple(sorted(labels)))


def _walk(folder: Path, unread: list[Path], labels: list[Path]) -> Iterator[Path]:
    """Yield what is no folder below one, and enter folders that cannot be read or are left out.

    Folders come before links to folders, so that one that lies there itself is not found
    under another's name.
    """
    seen: set[str] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        where = os.path.realpath(here)
        if where in seen:
            continue
        seen.add(where)
        try:
            entries = sorted(entry for entry in here.iterdir() if not is_hidden(entry))
        except OSError:
            unread.append(here)
            continue
        names = {entry.name for entry in entries}
        for entry in entries:
            if not _is(entry, Path.is_dir):
                yield entry
            elif LABEL_FOLDERS.get(entry.name) in names:
                labels.append(entry)
            else:
                (links if entry.is_symlink() else folders).append(entry)


def _is(path: Path, test: object) -> bool:
    """Return whether a test of a path holds; one that cannot be made does not."""
    try:
        return bool(test(path))  # type: ignore[operator]
    except (OSError, ValueError):
        return False


def _images_of_labels(folder: Path) -> Path | None:
    """Return the folder of images whose label maps lie in this one, if it is known for that."""
    for here in (folder.absolute(), folder.resolve()):
        for above in (here, *here.parents)[: LABEL_DEPTH + 1]:
            beside = above.parent / LABEL_FOLDERS.get(above.name, "")
            images = beside / here.relative_to(above)
            if above.name in LABEL_FOLDERS and images.is_dir():
                return images
    return None


def listed_images(path: Path) -> list[Path]:
    """Return the files that a list names, one a line; lines from ``#`` are skipped.

    Raises:
        InputError: It is no list, it is empty, or one of its files is not there.
    """
    images = []
    for number, line in enumerate(map(str.strip, _lines(path)), 1):
        if not line or line.startswith("#"):
            continue
        image = path.parent / Path(line).expanduser()
        if not _is(image, Path.is_file):
            raise InputError(
                f"{path}, line {number}: there is no {image}",
                "paths are relative to the list; mend or remove the line",
            )
        images.append(image)
    if not images:
        raise InputError(f"{path} names no image", "write a path a line")
    return images


def _lines(path: Path) -> list[str]:
    """Read the lines of a list, in UTF-8 or UTF-16; names of files keep their bytes.

    Raises:
        InputError: It cannot be read, or holds something else.
    """
    no_list = InputError(
        f"{path} is not a list of images", f"give a folder, {LIST}, or an .npz"
    )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise no_list from error
    if lfs.is_pointer(content):
        raise InputError(f"{path} is a Git LFS pointer, not the list", lfs.HINT)
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if content.startswith(mark):
            try:
                return content.decode("utf-16").split("\n")
            except UnicodeDecodeError as error:
                raise no_list from error
    if b"\0" in content:
        raise no_list
    return os.fsdecode(content.removeprefix(codecs.BOM_UTF8)).split("\n")


def find_listing(place: Path) -> Listing:
    """Find the images of a folder, those that a list names, or the one image that it is.

    Raises:
        InputError: There are none.
    """
    if not _is(place, Path.is_file):
        return list_folder(place)
    if place.suffix.lower() in SUFFIXES:
        return Listing((place,))
    return Listing(tuple(listed_images(place)))


def find_images(place: Path) -> list[Path]:
    """Return the images of a folder or a list, as :func:`find_listing` does."""
    return list(find_listing(place).images)


def notes_on(place: Path) -> list[str]:
    """Return what is to be said of the images of a folder; nothing where there are none."""
    try:
        return list(find_listing(place).notes())
    except InputError:
        return []
