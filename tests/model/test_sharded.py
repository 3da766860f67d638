"""A checkpoint in several files is read by its index, which leads nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.networks import tiny

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint import read_checkpoint
from hrvit_deploy.model.checkpoint_file import parts_of
from hrvit_deploy.model.weight_names import bare_name
from hrvit_deploy.options import Task

INDEX = "model.safetensors.index.json"


def shard(folder: Path, ending: str = ".safetensors", parts: int = 3) -> dict[str, str]:
    """Write the weights into several files; return which holds which."""
    state = tiny(Task.SEGMENT).state_dict()
    names = list(state)
    table = {
        name: f"model-{index % parts + 1:05}-of-{parts:05}{ending}"
        for index, name in enumerate(names)
    }
    for file in set(table.values()):
        held = {name: state[name] for name in names if table[name] == file}
        if ending == ".safetensors":
            save_file(held, folder / file)
        else:
            torch.save(held, folder / file)
    return table


def write_index(folder: Path, table: Any, name: str = INDEX) -> Path:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return folder / name


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
@pytest.mark.parametrize("by_folder", [True, False], ids=["folder", "index"])
def test_shards_are_one_network(tmp_path: Path, ending: str, by_folder: bool) -> None:
    index = write_index(tmp_path, shard(tmp_path, ending), f"model{ending}.index.json")
    found = read_checkpoint(tmp_path if by_folder else index)
    expected = tiny(Task.SEGMENT).state_dict()
    assert found.tensors.keys() == {bare_name(name) for name in expected}
    assert all(torch.equal(found.tensors[bare_name(n)], t) for n, t in expected.items())
    assert [part.name for part in parts_of(tmp_path)] == [
        index.name,
        *(f"model-0000{number}-of-00003{ending}" for number in (1, 2, 3)),
    ]


def refusal(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.hint
    return caught.value


def test_missing_shards_are_named(tmp_path: Path) -> None:
    write_index(tmp_path, shard(tmp_path))
    for number in (1, 3):
        (tmp_path / f"model-0000{number}-of-00003.safetensors").unlink()
    error = refusal(tmp_path)
    assert "lacks 2 of 3 shards: 'model-00001-of-00003.safetensors'" in error.message


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\\b", "a\0b"]
)
def test_an_index_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    save_file({"stem.conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    error = refusal(write_index(folder, {"stem.conv1.weight": name}))
    assert "names a file outside its folder" in error.message


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 100_000]
)
def test_an_index_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    assert INDEX in refusal(tmp_path / INDEX).message


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("__0_0.distcp", "dcp_to_torch"),
        ("zero_to_fp32.py", "zero_to_fp32.py"),
        ("weights.pth", "give the .pth or .safetensors in it"),
    ],
)
def test_other_folders_say_how_to_make_one_file(tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / file).touch()
    error = refusal(tmp_path)
    assert error.message == f"{tmp_path} is a folder, not a checkpoint"
    assert said in error.hint


def test_pointers_of_git_lfs_are_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 78643200\n"
    index = write_index(tmp_path, shard(tmp_path))
    (tmp_path / "model-00002-of-00003.safetensors").write_text(pointer)
    assert refusal(index).hint == "run git lfs pull"
    index.write_text(pointer)
    assert refusal(index).message == f"{index} is a Git LFS pointer, not the index"


def test_two_indices_are_listed(tmp_path: Path) -> None:
    table = shard(tmp_path)
    write_index(tmp_path, table)
    write_index(tmp_path, table, "other.safetensors.index.json")
    assert "holds several checkpoints" in refusal(tmp_path).message
