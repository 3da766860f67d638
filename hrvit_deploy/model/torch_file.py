"""The two formats of ``torch.save``, read without running anything in them."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from hrvit_deploy.model.inert_pickle import Global, PickleError, unpickle
from hrvit_deploy.model.stored_tensor import TENSOR_RULES, Storage, storage_dtype

# What the formats start with: a zip archive, or a pickled magic number.
ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# Of an entry of a zip archive, before its name; where the lengths of its name and what follows
# that stand.
ENTRY_BYTES = 30
ENTRY_LENGTHS = struct.Struct("<HH")
ENTRY_LENGTHS_AT = 26
COUNT = struct.Struct("<q")
# An archive may be compressed, but not declare more than so many times its size.
MOST_EXPANSION = 4
SMALLEST_BOUND = 1 << 20


# What broken archives and pickles raise when they are read.
BROKEN = (
    *(PickleError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, MemoryError),
    *(NotImplementedError, OSError, RuntimeError, ValueError),
)


class TruncatedFile(PickleError):
    """A file that is shorter than it says."""


class ScriptFile(PickleError):
    """A TorchScript program."""


def read_zip(path: Path) -> Any:
    """Read what ``torch.save`` wrote since PyTorch 1.6.

    Raises:
        PickleError: It is damaged, or holds what no checkpoint holds.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if sum(info.file_size for info in entries.values()) > max(
            MOST_EXPANSION * size, SMALLEST_BOUND
        ):
            raise PickleError("it declares far more than it holds")
        prefix = _prefix(entries)
        if f"{prefix}constants.pkl" in entries:
            raise ScriptFile
        order = f"{prefix}byteorder"
        if order in entries and archive.read(order).strip() == b"big":
            raise PickleError("it was saved on a machine of the other byte order")
        content = archive.read(f"{prefix}data.pkl")

    # Tensors that share a storage follow each other.
    @lru_cache(maxsize=1)
    def read(key: str) -> bytearray:
        return _read_entry(path, entries[f"{prefix}data/{key}"])

    def entry(key: str) -> Callable[[], bytearray]:
        if f"{prefix}data/{key}" not in entries:
            raise PickleError("one of its records of numbers is missing")
        return lambda: read(key)

    return unpickle(content, TENSOR_RULES, _Storages(entry))


def _prefix(entries: dict[str, zipfile.ZipInfo]) -> str:
    """Return what stands before ``data.pkl``, ``archive/`` or the file's own name."""
    found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise PickleError("it is an archive of other things")
    return found[0].removesuffix("data.pkl")


def _read_entry(path: Path, info: zipfile.ZipInfo) -> bytearray:
    if info.compress_type != zipfile.ZIP_STORED:
        with zipfile.ZipFile(path) as archive:
            return bytearray(archive.read(info))
    with path.open("rb") as file:
        file.seek(info.header_offset + ENTRY_LENGTHS_AT)
        name, extra = ENTRY_LENGTHS.unpack(file.read(ENTRY_LENGTHS.size))
        file.seek(info.header_offset + ENTRY_BYTES + name + extra)
        content = bytearray(file.read(info.file_size))
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise PickleError("the checksum of its numbers does not match them")
    return content


def read_legacy(path: Path) -> Any:
    """Read what ``torch.save`` wrote before PyTorch 1.6: pickles, then the storages.

    Raises:
        TruncatedFile: It ends early.
        PickleError: It is damaged, or holds what no checkpoint holds.
    """
    places: dict[str, tuple[int, int]] = {}

    @lru_cache(maxsize=1)
    def read(key: str) -> bytearray:
        return _read_place(path, places.get(key))

    def entry(key: str) -> Callable[[], bytearray]:
        return lambda: read(key)

    storages = _Storages(entry)
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            # A magic number, a version and the machine come before what was saved.
            for _ in range(3):
                unpickle(file, TENSOR_RULES, end=size)
            held = unpickle(file, TENSOR_RULES, storages, end=size)
            keys = unpickle(file, TENSOR_RULES, end=size)
        except PickleError as error:
            if not file.read(1):
                raise TruncatedFile from error
            raise
        if not isinstance(keys, list | tuple):
            raise PickleError("the list of its storages is missing")
        for key in map(str, keys):
            if key not in storages.kinds:
                raise PickleError("it lists a storage that nothing is in")
            places[key] = _skip_storage(file, storages.kinds[key].itemsize, size)
    return held


def _skip_storage(file: BinaryIO, itemsize: int, size: int) -> tuple[int, int]:
    """Pass over a storage; return where its numbers begin and how many bytes they are."""
    count = file.read(COUNT.size)
    if len(count) < COUNT.size:
        raise TruncatedFile
    begin, length = file.tell(), COUNT.unpack(count)[0] * itemsize
    if length < 0:
        raise PickleError("a storage has a size below nought")
    if begin + length > size:
        raise TruncatedFile
    file.seek(begin + length)
    return begin, length


def _read_place(path: Path, place: tuple[int, int] | None) -> bytearray:
    if place is None:
        raise PickleError("a storage is missing")
    at, length = place
    with path.open("rb") as file:
        file.seek(at)
        return bytearray(file.read(length))


@dataclass
class _Storages:
    """What persistent ids stand for: storages by their keys, and classes by themselves."""

    entry: Callable[[str], Callable[[], bytearray]]

    def __post_init__(self) -> None:
        self.kinds: dict[str, Any] = {}

    def __call__(self, saved: Any) -> Any:
        if not isinstance(saved, tuple) or len(saved) < 2:
            raise PickleError("it holds a persistent id of an odd shape")
        kind = saved[0].decode("ascii", "replace") if isinstance(saved[0], bytes) else saved[0]
        if kind == "module":
            # A class whose source was saved beside it; it names the class alone.
            return saved[1] if isinstance(saved[1], Global) else None
        if kind != "storage" or len(saved) not in (5, 6):
            raise PickleError("it holds a persistent id of an odd kind")
        key, count = str(saved[2]), saved[4]
        if (
            not isinstance(saved[2], str | int | bytes)
            or not isinstance(count, int)
            or count < 0
        ):
            raise PickleError("a storage has no size or no name")
        if len(saved) == 6 and saved[5] is not None:
            raise PickleError("it holds views of storages, as PyTorch before 0.4 wrote them")
        dtype = storage_dtype(saved[1])
        self.kinds[key] = dtype
        return Storage(dtype, count, self.entry(key))
