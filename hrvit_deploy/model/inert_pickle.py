"""Pickles read as data: a machine over their opcodes that calls nothing a file names.

``pickle.Unpickler`` imports what a file names and calls it. This machine imports nothing. What
a pickle names becomes a :class:`Global`, two strings; what it would call becomes an
:class:`Inert`, which holds what it was given; and the few forms that hold weights are made by
the functions handed over in ``rules``, each of which checks its arguments.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

# Of pickles that trainers write, the largest seen have some hundred thousand.
MOST_OPCODES = 20_000_000
# What no checkpoint needs and an attack does: a file that would call them was tampered with.
HARMFUL_MODULES = frozenset(
    {"os", "posix", "nt", "subprocess", "sys", "pty", "shutil", "socket", "runpy", "importlib"}
    | {
        "commands",
        "ctypes",
        "webbrowser",
        "multiprocessing",
        "urllib",
        "http",
        "code",
        "signal",
    }
)
HARMFUL_BUILTINS = frozenset(
    ("eval", "exec", "compile", "open", "__import__", "input", "breakpoint")
)
BUILTINS = ("builtins", "__builtin__")


class PickleError(ValueError):
    """A pickle that ends early, or does what no pickle of a trainer does."""


class HarmfulPickle(PickleError):
    """A pickle that would run what no checkpoint needs; the message names it."""


class _Mark:
    """Where the items of a list or a tuple begin on the stack."""


_MARK = _Mark()


@dataclass(frozen=True)
class Global:
    """A class or a function as a pickle names it, never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def harmful(self) -> bool:
        """Whether calling it is an attack."""
        root = self.module.partition(".")[0]
        if root in BUILTINS:
            return self.name.partition(".")[0] in HARMFUL_BUILTINS
        return root in HARMFUL_MODULES


@dataclass(eq=False)
class Inert:
    """What stands for an object whose class is not loaded.

    Attributes:
        of: What would have made it; empty where the pickle calls no global.
        args: What that would have been called with.
        state: The attributes it would have been given.
        items: What would have been appended to it.
        entries: What would have been stored in it by key.
    """

    of: str
    args: Any = ()
    state: dict[str, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    def set_state(self, state: Any) -> None:
        """Keep what the pickle would have handed to ``__setstate__``."""
        # (attributes, slots), as the default protocol writes an object with slots.
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.state.update((str(key), value) for key, value in part.items())
        if not any(isinstance(part, dict) for part in parts):
            self.items.append(state)


Rule = Callable[[tuple[Any, ...]], Any]
# What a persistent id stands for, in files of torch.save a storage.
Resolve = Callable[[Any], Any]


def no_persistent_ids(_: Any) -> Any:
    """Refuse persistent ids, which plain pickles do not have."""
    raise PickleError("it holds a persistent id")


class Window:
    """A part of a file, which reads no further than its end whatever length is asked for."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file, self._end = file, end

    def read(self, count: int = -1) -> bytes:
        """Return so many bytes, fewer at the end."""
        left = max(self._end - self._file.tell(), 0)
        return self._file.read(left if count < 0 else min(count, left))

    def readline(self) -> bytes:
        """Return the bytes up to a line's end."""
        return self._file.readline(max(self._end - self._file.tell(), 0))

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()


def unpickle(
    file: BinaryIO | bytes,
    rules: Mapping[str, Rule],
    resolve: Resolve = no_persistent_ids,
    *,
    end: int | None = None,
) -> Any:
    """Read one pickle and return what it holds, with :class:`Inert` for what is not data.

    Args:
        file: At the start of the pickle; left behind it. Or its bytes.
        rules: ``module.name`` of what is made, to what makes it of its checked arguments.
        resolve: Returns what a persistent id stands for.
        end: Place in the file that nothing is read beyond; its end by default.

    Raises:
        PickleError: It ends early, is none, or would call something harmful.
    """
    if isinstance(file, bytes):
        file = io.BytesIO(file)
    if end is None:
        here = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(here)
    machine = _Machine(rules, resolve)
    try:
        return machine.run(Window(file, end))
    except PickleError:
        raise
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        OverflowError,
    ) as error:
        raise PickleError(f"its pickle is damaged ({type(error).__name__})") from error


def _opcodes(window: Window) -> Iterator[tuple[str, Any]]:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(window)):  # type: ignore[arg-type]
        if count > MOST_OPCODES:
            raise PickleError("its pickle holds too many objects")
        yield opcode.name, argument


def plain_key(key: Any) -> Any:
    """Return a key as it is, if hashing it is safe: a nested tuple can overflow the stack."""
    if isinstance(key, str | int | float | bytes | bool | Global | None):
        return key
    if isinstance(key, tuple) and all(isinstance(part, str | int | bytes) for part in key):
        return key
    return Inert("key", (key,))


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, rules: Mapping[str, Rule], resolve: Resolve) -> None:
        self._rules, self._resolve = rules, resolve
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, window: Window) -> Any:
        steps = self._steps()
        for name, argument in _opcodes(window):
            if name == "STOP":
                if self._stack[-1] is _MARK:
                    raise PickleError("its pickle is damaged: it ends within a list")
                return self._stack.pop()
            step = steps.get(name)
            if step is None:
                raise PickleError(f"its pickle has the opcode {name}")
            step(argument)
        raise PickleError("its pickle ends early")

    def _steps(self) -> dict[str, Callable[[Any], None]]:
        push = self._stack.append
        constant = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
        literal = (
            "INT LONG LONG1 LONG4 BININT BININT1 BININT2 FLOAT BINFLOAT STRING BINSTRING"
            " SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES"
            " SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
        )
        steps: dict[str, Callable[[Any], None]] = dict.fromkeys(literal.split(), push)
        for name, value in constant.items():
            steps[name] = lambda _, value=value: push(value)  # type: ignore[misc]
        for name in ("EMPTY_LIST", "EMPTY_SET"):
            steps[name] = lambda _: push([])
        steps["EMPTY_DICT"] = lambda _: push({})
        steps["MARK"] = lambda _: push(_MARK)
        steps["DUP"] = lambda _: push(self._stack[-1])
        steps["POP"] = lambda _: self._pop()
        for name in ("PROTO", "FRAME"):
            steps[name] = lambda _: None
        for name in ("PUT", "BINPUT", "LONG_BINPUT"):
            steps[name] = self._put
        for name in ("GET", "BINGET", "LONG_BINGET"):
            steps[name] = lambda index: push(self._memo[int(index)])
        for count, name in enumerate(("TUPLE1", "TUPLE2", "TUPLE3"), 1):
            steps[name] = lambda _, count=count: self._tuple(count)  # type: ignore[misc]
        return steps | {
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "POP_MARK": lambda _: self._discard_marked(),
            "TUPLE": lambda _: push(tuple(self._marked())),
            "LIST": lambda _: push(self._marked()),
            "FROZENSET": lambda _: push(tuple(self._marked())),
            "DICT": lambda _: push(_pairs(self._marked())),
            "APPEND": lambda _: self._extend([self._pop()]),
            "APPENDS": lambda _: self._extend(self._marked()),
            "ADDITEMS": lambda _: self._extend(self._marked()),
            "SETITEM": lambda _: self._store(self._last(2)),
            "SETITEMS": lambda _: self._store(self._marked()),
            "GLOBAL": lambda argument: push(Global(*argument.split(" ", 1))),
            "STACK_GLOBAL": lambda _: push(_global(*self._last(2))),
            "REDUCE": lambda _: push(self._make(*self._last(2))),
            "NEWOBJ": lambda _: push(self._make(*self._last(2))),
            "NEWOBJ_EX": lambda _: self._new_with_keywords(*self._last(3)),
            "INST": self._inst,
            "OBJ": lambda _: self._obj(self._marked()),
            "BUILD": lambda _: self._build(self._pop()),
            "PERSID": lambda argument: push(self._resolve(argument)),
            "BINPERSID": lambda _: push(self._resolve(self._pop())),
        }

    def _pop(self) -> Any:
        return self._stack.pop()

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise PickleError("its pickle is damaged: its stack is empty")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                taken = self._stack[index + 1 :]
                del self._stack[index:]
                return taken
        raise PickleError("its pickle is damaged: a mark is missing")

    def _discard_marked(self) -> None:
        self._marked()

    def _put(self, index: Any) -> None:
        self._memo[int(index)] = self._stack[-1]

    def _tuple(self, count: int) -> None:
        self._stack.append(tuple(self._last(count)))

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            target.items.extend(items)
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise PickleError("its pickle appends to what is no list")

    def _store(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            target.entries.update(_pairs(flat))
        elif isinstance(target, dict):
            target.update(_pairs(flat))
        else:
            raise PickleError("its pickle stores in what is no dict")

    def _make(self, called: Any, args: Any) -> Any:
        if not isinstance(args, tuple):
            raise PickleError("its pickle calls without arguments")
        if not isinstance(called, Global):
            return Inert("", (called, args))
        if called.harmful:
            raise HarmfulPickle(str(called))
        rule = self._rules.get(str(called))
        return Inert(str(called), args) if rule is None else rule(args)

    def _new_with_keywords(self, called: Any, args: Any, keywords: Any) -> None:
        made = self._make(called, args)
        if isinstance(made, Inert):
            made.set_state(keywords)
        self._stack.append(made)

    def _inst(self, argument: str) -> None:
        self._stack.append(self._make(Global(*argument.split(" ", 1)), tuple(self._marked())))

    def _obj(self, marked: list[Any]) -> None:
        self._stack.append(self._make(marked[0], tuple(marked[1:])))

    def _build(self, state: Any) -> None:
        # Attributes of a dict, such as a state dict's versions, are of no use to anybody.
        target = self._stack[-1]
        if isinstance(target, Inert):
            target.set_state(state)


def _global(module: Any, name: Any) -> Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise PickleError("its pickle names what is no name")
    return Global(module, name)


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    if len(flat) % 2:
        raise PickleError("its pickle has a key without a value")
    return {plain_key(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}
