"""Checkpoint files, read without running anything in them, and named when they are broken."""

from __future__ import annotations

import argparse
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from hrvit_deploy.errors import CheckpointError

SAFETENSORS = ".safetensors"
LFS_POINTER = b"version https://git-lfs"
# What the two formats of torch.save start with: a zip archive, or a pickled magic number.
ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PICKLES = 5
PICKLE = b"\x80"
# Safetensors: 8 bytes that count the header, which is at most so long.
COUNT_BYTES = 8
LONGEST_HEADER = 100_000_000


def read_file(path: Path) -> Any:
    """Read a ``.pth``, ``.pt`` or ``.safetensors`` file: tensors and plain values alone.

    Raises:
        CheckpointError: Missing, truncated, of another kind, or a pickle that holds more
            than tensors.
    """
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder, not a checkpoint", "give the .pth or .safetensors in it"
        )
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}", "check the path")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror}", "check its permissions"
        ) from error
    if head.startswith(LFS_POINTER):
        raise CheckpointError(
            f"{path} is a Git LFS pointer, not the weights", "run git lfs pull"
        )
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


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a ``.safetensors`` file that was read; nothing of any other."""
    if path.suffix.lower() != SAFETENSORS:
        return {}
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _read_pickle(path: Path, head: bytes) -> Any:
    # The directory of a zip archive is its end.
    if _begins(head, ZIP) and not _has_zip_directory(path):
        raise _truncated(path)
    try:
        # timm's training script saves its argparse options beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Broken files make the unpickler fail in every way.
        raise _diagnosis(path, head, error) from error


def _diagnosis(path: Path, head: bytes, error: Exception) -> CheckpointError:
    """Describe why PyTorch cannot load the file."""
    reason = str(error)
    if "TorchScript" in reason:
        return CheckpointError(
            f"{path} is a TorchScript program, not a state dict",
            "save the state dict alone, best as .safetensors",
        )
    if _ends_early(path, head, reason):
        return _truncated(path)
    if isinstance(error, pickle.UnpicklingError) and (
        head.startswith((ZIP, PICKLE)) or "GLOBAL" in reason
    ):
        return _refused(path, reason)
    if head.startswith((ZIP, LEGACY)):
        return CheckpointError(
            f"{path} is damaged: PyTorch cannot read the tensors in it",
            "copy or download it again, and compare its hash with the source",
        )
    return _foreign(path, head)


def _begins(head: bytes, magic: bytes) -> bool:
    """Return whether the file starts so, or is cut short within it."""
    return head.startswith(magic) or magic.startswith(head)


def _has_zip_directory(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return True  # There is one, of whatever worth.


def _ends_early(path: Path, head: bytes, reason: str) -> bool:
    """Return whether a file in the legacy format is shorter than it says; run nothing in it."""
    if not _begins(head, LEGACY):
        return False
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for _ in range(LEGACY_PICKLES):
                for _ in pickletools.genops(file):
                    pass
        except (ValueError, MemoryError):
            # What cannot be read for want of bytes was read to the end.
            return not file.read(1)
    # The storages follow, and PyTorch counts those.
    return "unexpected EOF" in reason


def _truncated(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated: only {path.stat().st_size:,} bytes of it are here",
        "copy or download it again, and compare its size and hash with the source",
    )


def _refused(path: Path, reason: str) -> CheckpointError:
    named = re.search(r"GLOBAL (\S+)", reason)
    reason = f"it wants to run {named[1]}" if named else "it is not one that torch.save wrote"
    return CheckpointError(
        f"{path} is refused unread: it is a pickle that holds more than tensors ({reason})",
        "such a file can run code; save the state dict alone, best as .safetensors",
    )


def _foreign(path: Path, head: bytes) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a checkpoint: it starts with {head[:16]!r}",
        "give a .pth, .pt or .safetensors file that holds a state dict",
    )
