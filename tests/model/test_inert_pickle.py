"""A pickle is data: whatever it names and calls, nothing is imported and nothing runs."""

from __future__ import annotations

import argparse
import builtins
import collections
import functools
import importlib
import io
import operator
import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint import read_checkpoint
from hrvit_deploy.model.checkpoint_file import read_file
from hrvit_deploy.model.inert_pickle import HarmfulPickle, Inert, PickleError, unpickle
from hrvit_deploy.model.stored_tensor import TENSOR_RULES

# What Python reports when code is loaded or run, or a process, a file or a socket is touched.
EVENTS = ("import", "exec", "compile", "os.", "subprocess.", "socket.", "shutil.", "ctypes.")
_heard: list[str] | None = None


def _listen(event: str, _: Any) -> None:
    if _heard is not None and event.startswith(EVENTS):
        _heard.append(event)


sys.addaudithook(_listen)  # there is no way to remove one


@contextmanager
def listening() -> Iterator[list[str]]:
    """What is loaded or run within."""
    global _heard  # noqa: PLW0603
    _heard = []
    try:
        yield _heard
    finally:
        _heard = None


class Calls:
    """Unpickled, it is whatever a function returns."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.called = function, args

    def __reduce__(self) -> Any:
        return self.called

    def __call__(self) -> None:
        """Whatever is called when unpickled must be callable when pickled."""


def attacks(trace: Path) -> dict[str, Any]:
    """Pickles that run something, each of which leaves a trace."""
    code = f"__import__('os').mkdir({str(trace)!r})"
    mkdir = Calls(getattr, Calls(importlib.import_module, "os"), "mkdir")
    return {
        "os": Calls(os.mkdir, str(trace)),
        "os.system": Calls(os.system, f"mkdir {trace}"),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "getattr of a module": Calls(functools.partial, mkdir, str(trace)),
        "called twice": Calls(Calls(functools.partial, os.mkdir, str(trace))),
        "methodcaller": Calls(map, Calls(operator.methodcaller, "mkdir", str(trace)), [os]),
        "subprocess": Calls(subprocess.check_output, ["mkdir", str(trace)]),
        "torch.hub": Calls(torch.hub.load, str(trace), "model"),
        "torch.load": Calls(torch.load, str(trace)),
        "numpy.load": Calls(np.load, str(trace)),
        "import": Calls(builtins.__import__, "this"),
    }


NAMES = tuple(attacks(Path("trace")))
# Those that call what no checkpoint needs, at once.
HARMFUL = (*("os", "os.system", "eval", "exec", "getattr of a module", "subprocess", "import"),)


def pickled(attack: Any, protocol: int) -> bytes:
    # A module cannot be pickled; its name will do, for what is never called.
    class Pickler(pickle._Pickler):
        def save_module(self, module: Any) -> None:
            self.save(module.__name__)  # type: ignore[attr-defined]

        dispatch: ClassVar[dict[type, Any]] = {
            **pickle._Pickler.dispatch,
            type(os): save_module,
        }

    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(attack)
    return buffer.getvalue()


def test_the_attacks_work(tmp_path: Path) -> None:
    # Or what follows would prove nothing.
    for name in ("os", "os.system", "eval", "exec", "subprocess", "called twice"):
        trace = tmp_path / name.replace(" ", "-")
        with listening() as heard:
            pickle.loads(pickled(attacks(trace)[name], 2))
        assert trace.exists(), name
        assert heard, name


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs(tmp_path: Path, name: str, protocol: int) -> None:
    trace = tmp_path / "trace"
    content = pickled({"state_dict": attacks(trace)[name], "after": 1}, protocol)
    with listening() as heard:
        try:
            held = unpickle(content, TENSOR_RULES)
        except HarmfulPickle:
            held = None
    assert not trace.exists()
    assert not heard
    assert held is None or isinstance(held["state_dict"], Inert)


@pytest.mark.parametrize("form", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_in_a_checkpoint(tmp_path: Path, name: str, form: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pth"
    weights = {"stem.conv1.weight": torch.zeros(2), "head.classifier.weight": torch.ones(3)}
    module = type(pickle)("evil_pickle")
    module.__dict__.update(
        Pickler=pickle._Pickler, Unpickler=pickle.Unpickler, dump=pickle.dump, load=pickle.load
    )
    attack = attacks(trace)[name]
    if name == "methodcaller":
        attack = Calls(operator.methodcaller, "mkdir", str(trace))
    torch.save(
        {"state_dict": weights, "extra": [attack]},
        path,
        pickle_module=module,
        _use_new_zipfile_serialization=form,
    )
    refused = name in HARMFUL
    with pytest.raises(CheckpointError, match="would run") if refused else nullcontext():
        tensors = read_checkpoint(path).tensors
        assert torch.equal(tensors["head.classifier.weight"], torch.ones(3))
    assert not trace.exists()


GLOBAL_NAMESPACE = b"cargparse\nNamespace\n"


@pytest.mark.parametrize(
    "content",
    [
        # BUILD on a class, by its slots, and on what a class made.
        GLOBAL_NAMESPACE + b"(N}(S'__init__'\nS'broken'\nutb.",
        GLOBAL_NAMESPACE + b"(t\x81}(S'__setstate__'\ncbuiltins\neval\nub}(S'x'\nI1\nub.",
        b"ccollections\nOrderedDict\n)R}(S'__class__'\ncos\nsystem\nub.",
        # A REDUCE on what a REDUCE made, on a string and on a tuple.
        b"cfunctools\npartial\n(cbuiltins\nprint\ntR(S'x'\ntR.",
        b"(S'os.system'\nS'x'\ntR.",
        b"S'os.system'\n(S'x'\ntR.",
        # Attributes of what a name reaches through dots.
        b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93(\x8c\x011tR.",
    ],
)
def test_classes_are_left_as_they_are(content: bytes) -> None:
    before = dict(vars(argparse.Namespace)), dict(vars(collections.OrderedDict))
    with listening() as heard, suppress(PickleError):
        unpickle(content, TENSOR_RULES)
    assert not heard
    assert (dict(vars(argparse.Namespace)), dict(vars(collections.OrderedDict))) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"0.",
        b"(.",
        b"u.",
        b"}(I1\nu.",
        b"I1\n(I2\nI3\nu.",
        b"I1\nI2\na.",
        b"j\xff\xff\xff\xff.",
        b"\x82\x01.",
        b"\x80\x05\x97.",
        b"P12\n.",
        b"\x88Q.",
        b"(cos\nsystem\nt\x93.",
        b"\x8d" + (1 << 60).to_bytes(8, "little") + b"x.",
        b"\x8e" + (1 << 62).to_bytes(8, "little") + b"x.",
        b"\xff.",
    ],
)
def test_broken_pickles_are_named_as_such(content: bytes) -> None:
    with pytest.raises(PickleError):
        unpickle(content, TENSOR_RULES)


def test_a_tuple_in_tuples_overflows_nothing() -> None:
    deep = b")" + b"\x85" * 1_000_000
    # As a key, where hashing it would go as deep as it is.
    held = unpickle(b"}(" + deep + b"I1\nu" + b".", TENSOR_RULES)
    assert len(held) == 1
    assert unpickle(b"(" + deep + b"t.", TENSOR_RULES)


def test_lists_of_one_list_cost_what_they_hold() -> None:
    # Each holds the one before ten times: 10^40 items, if anybody walked them.
    content = b"]q\x00" + b"".join(
        b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"eq" + bytes([level + 1])
        for level in range(40)
    )
    with pytest.raises(PickleError):
        unpickle(content, TENSOR_RULES)
    assert len(unpickle(content + b".", TENSOR_RULES)) == 10


@pytest.mark.parametrize(
    "saved",
    [7, "storage", (), ("storage",), ("thing", 1), ("storage", 1, 2, 3, 4), ("storage",) * 6],
)
def test_odd_persistent_ids_are_one_line(tmp_path: Path, saved: Any) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, held: Any) -> Any:
            return saved if held == "here" else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"state_dict": "here"})
    path = tmp_path / "odd.pth"
    torch.save({}, path)
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("data.pkl")]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, buffer.getvalue())
    with pytest.raises(CheckpointError) as caught:
        read_file(path)
    assert "is damaged" in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("shape", [(8 * 10**9,), (2**62, 1, 1, 1), (10**12, 4)])
def test_an_expanded_tensor_costs_no_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "wide.pth"
    expanded = torch.zeros(1).expand(shape)
    torch.save({"stem.conv1.weight": torch.zeros(1), "head.classifier.weight": expanded}, path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert "is stored as 1" in caught.value.message


def test_opcodes_are_all_known_or_refused() -> None:
    # Those that no pickle of a trainer has: extensions, which name code, and buffers.
    from hrvit_deploy.model.inert_pickle import _Machine, no_persistent_ids

    known = set(_Machine({}, no_persistent_ids)._steps())
    refused = {opcode.name for opcode in pickletools.opcodes} - known - {"STOP"}
    assert refused == {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
