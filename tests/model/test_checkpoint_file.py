"""Files are read without running them, and broken ones are named for what they are."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint_file import read_file
from hrvit_deploy.model.inert_pickle import PickleError
from hrvit_deploy.model.stored_tensor import is_stored, load_stored
from hrvit_deploy.model.weights_entry import states_in

SUFFIXES = {"zip": ".pth", "legacy": ".pt", "safetensors": ".safetensors"}


def bytes_of(form: str, extra: Any = None) -> bytes:
    """A small checkpoint as the file would hold it."""
    weights = {"stem.weight": torch.arange(300.0), "count": torch.tensor(3)}
    if form == "safetensors":
        return bytes(save_safetensors(weights))
    held = {"state_dict": weights, "epoch": 1_234_567, "lr": 0.1, "name": "x" * 300}
    buffer = io.BytesIO()
    torch.save(
        held if extra is None else {**held, "extra": extra},
        buffer,
        _use_new_zipfile_serialization=form == "zip",
    )
    return buffer.getvalue()


@cache
def whole(form: str) -> bytes:
    """The same file each time; the legacy format holds addresses in memory."""
    return bytes_of(form)


def refusal(folder: Path, name: str, content: bytes) -> CheckpointError:
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_file(path)
    assert caught.value.message.startswith(str(path))
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.hint
    return caught.value


class Malicious:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_the_malicious_pickle_works(tmp_path: Path) -> None:
    # Or the tests below would prove nothing.
    pickle.loads(pickle.dumps(Malicious(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_malicious_checkpoint_is_refused_unread(tmp_path: Path, form: str) -> None:
    trace = tmp_path / "trace"
    error = refusal(tmp_path, "evil.pth", bytes_of(form, Malicious(trace)))
    assert not trace.exists()
    assert "is refused unread: it is a pickle that would run posix.mkdir" in error.message
    assert "can run code" in error.hint


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_a_malicious_pickle_is_refused_unread(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps({"state_dict": Malicious(trace)}, protocol)
    error = refusal(tmp_path, "evil.pth", content)
    assert not trace.exists()
    assert "is refused unread" in error.message


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_the_oldest_pickles_are_not_run_either(tmp_path: Path, suffix: str) -> None:
    trace = tmp_path / "trace"
    refusal(tmp_path, f"evil{suffix}", pickle.dumps(Malicious(trace), 0))
    assert not trace.exists()


@pytest.mark.parametrize("value", [np.float64(0.8), np.float32(0.5), np.int64(7), np.bool_(1)])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_scores_of_numpy_are_read(tmp_path: Path, form: str, value: Any) -> None:
    path = tmp_path / "best.pth"
    path.write_bytes(bytes_of(form, {"best": value}))
    assert read_file(path)["extra"] == {"best": value.item()}


@pytest.mark.parametrize("form", SUFFIXES)
def test_whole_files_are_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"whole{SUFFIXES[form]}"
    path.write_bytes(bytes_of(form))
    held = read_file(path)
    weights = held if form == "safetensors" else held["state_dict"]
    assert torch.equal(load_stored(weights["stem.weight"]), torch.arange(300.0))


@pytest.mark.parametrize("form", SUFFIXES)
def test_truncated_files_are_named_as_such(tmp_path: Path, form: str) -> None:
    content = bytes_of(form)
    # Every length near either end, and a sample between.
    lengths = {*range(1, 120), *range(120, len(content), 13), len(content) - 1}
    for length in sorted(lengths):
        error = refusal(tmp_path, f"cut{SUFFIXES[form]}", content[:length])
        assert f"is truncated: only {length:,} bytes of it are here" in error.message
        assert "download it again" in error.hint


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_an_empty_file_is_named_as_such(tmp_path: Path, suffix: str) -> None:
    assert refusal(tmp_path, f"a{suffix}", b"").message.endswith(" is empty")


@pytest.mark.parametrize("form", SUFFIXES)
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files_are_one_line_or_load(
    tmp_path: Path, form: str, data: st.DataObject
) -> None:
    content = bytearray(whole(form))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged{SUFFIXES[form]}"
    path.write_bytes(content)
    told: list[str] = []
    try:
        for _, state in states_in(read_file(path)):
            for value in filter(is_stored, state.values()):
                load_stored(value)
    except PickleError:
        pass
    except CheckpointError as error:
        told = [error.message, error.hint]
    assert all(len(line.splitlines()) == 1 for line in told)


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_a_git_lfs_pointer_is_named(tmp_path: Path, suffix: str) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 78643200\n"
    error = refusal(tmp_path, f"b1{suffix}", pointer)
    assert error.message.endswith("is a Git LFS pointer, not the weights")
    assert error.hint == "run git lfs pull"


@pytest.mark.parametrize("suffix", SUFFIXES.values())
@pytest.mark.parametrize(
    "content",
    [b"hello, this is text\n" * 9, b"<!DOCTYPE html><p>404</p>", b'{"a": 1, "b": 2}', bytes(9)],
    ids=["text", "page", "json", "zeros"],
)
def test_other_files_are_no_checkpoints(tmp_path: Path, suffix: str, content: bytes) -> None:
    error = refusal(tmp_path, f"other{suffix}", content)
    assert f"is not a checkpoint: it starts with {content[:16]!r}" in error.message
    assert ".safetensors" in error.hint


def test_compressed_checkpoints_are_no_checkpoints(tmp_path: Path) -> None:
    error = refusal(tmp_path, "b1.pth", gzip.compress(bytes_of("zip")))
    assert "is not a checkpoint" in error.message


def test_other_archives_are_no_checkpoints(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "weights are elsewhere")
    error = refusal(tmp_path, "b1.pth", buffer.getvalue())
    assert "is damaged: the tensors in it cannot be read (it is an archive" in error.message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_named(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    recwarn.clear()
    error = refusal(tmp_path, "script.pt", buffer.getvalue())
    assert error.message.endswith("is a TorchScript program, not a state dict")
    assert not recwarn.list


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_file(tmp_path / "gone.pth")
    assert caught.value.message == f"there is no checkpoint {tmp_path / 'gone.pth'}"


def test_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "weights.pth"
    folder.mkdir()
    with pytest.raises(CheckpointError) as caught:
        read_file(folder)
    assert caught.value.message == f"{folder} is a folder, not a checkpoint"


def test_a_file_one_may_not_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.pth"
    path.write_bytes(bytes_of("zip"))

    def forbidden(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(CheckpointError) as caught:
        read_file(path)
    assert caught.value.message == f"cannot read {path}: Permission denied"
    assert caught.value.hint == "check its permissions"
