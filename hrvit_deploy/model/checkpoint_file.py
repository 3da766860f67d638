"""Checkpoint files, read without running anything in them, and named when they are broken."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.inert_pickle import HarmfulPickle, PickleError, unpickle
from hrvit_deploy.model.sharded import SAFETENSORS, find_index, hint_for_folder, shards_of
from hrvit_deploy.model.shown import printable
from hrvit_deploy.model.torch_file import (
    BROKEN,
    LEGACY,
    ZIP,
    ScriptFile,
    TruncatedFile,
    read_legacy,
    read_zip,
)
from hrvit_deploy.standalone import lfs

# Safetensors: 8 bytes that count the header, which is at most so long.
COUNT_BYTES = 8
LONGEST_HEADER = 100_000_000
SAVE = "save the state dict alone, best as .safetensors"


def read_file(path: Path) -> Any:
    """Read a checkpoint: tensors and plain values, with inert stand-ins for all else.

    Args:
        path: A ``.pth``, ``.pt`` or ``.safetensors`` file, the ``.index.json`` of a sharded
            checkpoint, or the folder that holds one.

    Returns:
        What was saved; tensors whose numbers are still in the file as
        :class:`hrvit_deploy.model.stored_tensor.StoredTensor`.

    Raises:
        CheckpointError: Missing, truncated, of another kind, or a pickle that would run code.
    """
    index = find_index(path)
    if index is None:
        return _read_one(path)
    return {name: tensor for part in shards_of(index) for name, tensor in _part(part)}


def _part(path: Path) -> list[tuple[str, Any]]:
    held = _read_one(path)
    if not isinstance(held, dict):
        raise CheckpointError(f"{path} is no part of a state dict", SAVE)
    return [(str(name), value) for name, value in held.items()]


def parts_of(path: Path) -> tuple[Path, ...]:
    """Return the files that a checkpoint is made of: one, or an index and its shards."""
    index = find_index(path)
    return (path,) if index is None else (index, *shards_of(index))


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a ``.safetensors`` file that was read; nothing of any other."""
    if path.suffix.lower() != SAFETENSORS or not path.is_file():
        return {}
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _read_one(path: Path) -> Any:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a checkpoint", hint_for_folder(path))
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}", "check the path")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}", "check its permissions"
        ) from error
    if lfs.is_pointer(head):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights", lfs.HINT)
    if not head:
        raise CheckpointError(f"{path} is empty", "copy or download it again")
    safe = path.suffix.lower() == SAFETENSORS
    return _read_safetensors(path, head) if safe else _read_pickle(path, head)


def _read_safetensors(path: Path, head: bytes) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = int.from_bytes(head[:COUNT_BYTES], "little")
    short = path.stat().st_size < COUNT_BYTES + header
    if len(head) < COUNT_BYTES or (short and header <= LONGEST_HEADER):
        raise _truncated(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        if "incomplete" in str(error):
            raise _truncated(path) from error
        raise _foreign(path, head) from error


def _read_pickle(path: Path, head: bytes) -> Any:
    # The directory of a zip archive is its end.
    if _begins(head, ZIP) and not _has_zip_directory(path):
        raise _truncated(path)
    try:
        if head.startswith(ZIP):
            return read_zip(path)
        if _begins(head, LEGACY):
            return read_legacy(path)
    except HarmfulPickle as error:
        raise CheckpointError(
            f"{path} is refused unread: it is a pickle that would run {printable(str(error))}",
            "such a file can run code, and no training writes one; take the weights from a"
            " source you trust",
        ) from error
    except TruncatedFile as error:
        raise _truncated(path) from error
    except ScriptFile as error:
        raise CheckpointError(
            f"{path} is a TorchScript program, not a state dict", SAVE
        ) from error
    except BROKEN as error:
        raise damaged(path, error) from error
    if _is_pickle(path):
        raise CheckpointError(
            f"{path} is refused unread: it is a pickle that torch.save did not write", SAVE
        )
    raise _foreign(path, head)


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Describe a file whose pickle or whose numbers cannot be read."""
    why = f" ({error})" if isinstance(error, PickleError) and str(error) else ""
    return CheckpointError(
        f"{path} is damaged: the tensors in it cannot be read{why}",
        "copy or download it again, and compare its hash with the source",
    )


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            unpickle(file, {})
    except HarmfulPickle:
        return True
    except PickleError:
        return False
    return True


def _begins(head: bytes, magic: bytes) -> bool:
    """Return whether the file starts so, or is cut short within it."""
    return head.startswith(magic) or magic.startswith(head)


def _has_zip_directory(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return True  # There is one, of whatever worth.


def _truncated(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated: only {path.stat().st_size:,} bytes of it are here",
        "copy or download it again, and compare its size and hash with the source",
    )


def _foreign(path: Path, head: bytes) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint: it starts with {head[:16]!r}",
        "give a .pth, .pt or .safetensors file that holds a state dict",
    )
