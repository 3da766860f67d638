"""Checkpoints in several files: an index that says which file holds which tensor."""

from __future__ import annotations

import json
from pathlib import Path

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.standalone import lfs

SAFETENSORS = ".safetensors"
INDEX = ".index.json"
# What tells a folder of another kind, and how to make one file of it.
FOLDERS = {
    "*.distcp": "make one file of it: python -m torch.distributed.checkpoint.format_utils"
    " dcp_to_torch {folder} weights.pth",
    "zero_to_fp32.py": "make one file of it: python {folder}/zero_to_fp32.py {folder} weights",
}
LARGEST_INDEX = 64 << 20


def find_index(path: Path) -> Path | None:
    """Return the index of a sharded checkpoint, given itself or its folder; None without one.

    Raises:
        CheckpointError: The folder holds several.
    """
    if not path.is_dir():
        return path if path.name.endswith(INDEX) else None
    found = sorted(path.glob(f"*{INDEX}"))
    # The same weights in both formats: the one that holds no pickle.
    found = [index for index in found if index.name.endswith(SAFETENSORS + INDEX)] or found
    if len(found) > 1:
        raise CheckpointError(
            f"{path} holds several checkpoints", f"give one: {', '.join(map(str, found[:4]))}"
        )
    return found[0] if found else None


def hint_for_folder(folder: Path) -> str:
    """Return what to do with a folder that holds no index."""
    for pattern, hint in FOLDERS.items():
        if next(folder.glob(pattern), None) is not None:
            return hint.format(folder=folder)
    return f"give the .pth or .safetensors in it, or the *{INDEX} of a sharded one"


def shards_of(index: Path) -> tuple[Path, ...]:
    """Return the files that an index names, all of which are there.

    Raises:
        CheckpointError: It is none, names a file outside its folder, or one that is missing.
    """
    if lfs.is_pointer_file(index):
        raise CheckpointError(f"{index} is a Git LFS pointer, not the index", lfs.HINT)
    hint = "give the *.safetensors.index.json that was saved with the shards"
    try:
        if index.stat().st_size > LARGEST_INDEX:
            raise CheckpointError(f"{index} is too large for an index", hint)
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(table.values()))
    except OSError as error:
        raise CheckpointError(
            f"cannot read {index}: {error.strerror}", "check the path"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is not the index of a sharded checkpoint", hint
        ) from error
    if not names or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{index} names no files", hint)
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise CheckpointError(
                f"{index} names a file outside its folder: {name[:80]!r}",
                "shards lie beside their index; take it from a source you trust",
            )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of {len(names)} shards:"
            f" {', '.join(map(repr, missing[:3]))}{rest}",
            "download or copy all of them beside the index",
        )
    return tuple(index.parent / name for name in names)
