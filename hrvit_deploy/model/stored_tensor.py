"""Tensors as a checkpoint file describes them, whose numbers are read when they are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hrvit_deploy.model.inert_pickle import Global, Inert, PickleError, Rule

# Storages by the classes that torch.save names, and the types of dtype objects.
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
    "UntypedStorage": torch.uint8,
}
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (*STORAGES.values(), torch.float8_e4m3fn, torch.float8_e5m2)
}
MOST_DIMENSIONS = 64
# NumPy's codes of types that PyTorch has, too.
ARRAY_TYPES = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"))


@dataclass(frozen=True)
class Storage:
    """Numbers of one type that lie in a file.

    Attributes:
        dtype: Of each number.
        count: How many the file says there are.
        read: Returns their bytes, as many as the file has.
    """

    dtype: torch.dtype
    count: int
    read: Callable[[], bytearray]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's shape, and where its numbers lie.

    Attributes:
        dtype: Of its elements.
        shape: In elements.
        stride: In elements.
        offset: Of the first element, in elements.
    """

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def load(self) -> Tensor:
        """Read its numbers.

        Raises:
            PickleError: The file holds fewer numbers than the tensor has: they are missing,
                or few are repeated, which costs memory that no weights need.
        """
        count = math.prod(self.shape)
        if not count:
            return torch.empty(self.shape, dtype=self.dtype)
        content = self.storage.read()
        size = self.dtype.itemsize
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        held = min(self.storage.count * self.storage.dtype.itemsize, len(content)) // size
        if count > held:
            raise PickleError(f"a tensor of {count:,} numbers is stored as {held:,}")
        if self.offset + last >= held:
            raise PickleError("a tensor reaches beyond its storage")
        flat = torch.frombuffer(content, dtype=self.dtype, count=held)
        return flat.as_strided(self.shape, self.stride, self.offset)


@dataclass(frozen=True)
class StoredArray:
    """A NumPy array that was pickled; like a :class:`StoredTensor`."""

    code: str
    shape: tuple[int, ...]
    fortran: bool
    content: bytes

    def load(self) -> Tensor:
        """Return its numbers as a tensor.

        Raises:
            PickleError: PyTorch lacks their type, or they are not as many as the shape says.
        """
        kind = self.code.lstrip("<|=>")
        if kind not in ARRAY_TYPES:
            raise PickleError(f"an array has the type {self.code[:16]!r}")
        order = ">" if self.code.startswith(">") else "<"
        flat = np.frombuffer(self.content, np.dtype(order + kind))
        if flat.size != math.prod(self.shape):
            raise PickleError("an array has not the numbers that its shape says")
        shaped = flat.reshape(self.shape, order="F" if self.fortran else "C")
        return torch.from_numpy(shaped.astype(shaped.dtype.newbyteorder("=")))


Stored = StoredTensor | StoredArray


def is_stored(value: object) -> bool:
    """Return whether a checkpoint's value holds numbers of weights."""
    return isinstance(value, StoredTensor | StoredArray | Tensor)


def load_stored(value: Stored | Tensor) -> Tensor:
    """Return the tensor that a checkpoint's value stands for."""
    return value if isinstance(value, Tensor) else value.load()


def shape_of(value: Stored | Tensor) -> tuple[int, ...]:
    """Return a value's shape, without reading its numbers."""
    return tuple(value.shape)


def storage_dtype(kind: Any) -> torch.dtype:
    """Return the type of numbers in a storage of that class.

    Raises:
        PickleError: There is no such class.
    """
    if not isinstance(kind, Global) or kind.name not in STORAGES:
        raise PickleError("a storage has no known type")
    return STORAGES[kind.name]


def _tensor(args: tuple[Any, ...], dtype: Any = None) -> StoredTensor:
    storage, offset, shape, stride = args[:4]
    if not isinstance(storage, Storage):
        raise PickleError("a tensor has no storage")
    sizes, steps = _whole(shape), _whole(stride)
    if len(sizes) != len(steps) or not isinstance(offset, int) or offset < 0:
        raise PickleError("a tensor's shape does not fit its strides")
    return StoredTensor(storage, dtype or storage.dtype, sizes, steps, offset)


def _whole(numbers: Any) -> tuple[int, ...]:
    fits = isinstance(numbers, tuple | list) and len(numbers) <= MOST_DIMENSIONS
    if not fits or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise PickleError("a tensor's shape is not of whole numbers")
    return tuple(int(number) for number in numbers)


def _typed_tensor(args: tuple[Any, ...]) -> StoredTensor:
    named = args[6]
    if not isinstance(named, Global) or named.name not in DTYPES:
        raise PickleError("a tensor has no known type")
    return _tensor(args, DTYPES[named.name])


def _first(args: tuple[Any, ...]) -> Any:
    return args[0]


def _subclass(args: tuple[Any, ...]) -> Any:
    """Make the plain tensor that an object of a subclass of Tensor was saved as."""
    rebuild, inner = args[0], args[2]
    rule = TENSOR_RULES.get(str(rebuild))
    if rule is None or rule is _subclass or not isinstance(inner, tuple):
        return Inert(str(rebuild) if isinstance(rebuild, Global) else "", (inner,))
    return rule(inner)


def _mapping(args: tuple[Any, ...]) -> dict[Any, Any]:
    pairs = args[-1] if args else []
    if isinstance(pairs, dict):
        return pairs
    known = isinstance(pairs, list) and all(isinstance(p, list | tuple) for p in pairs)
    if not known or not all(len(p) == 2 and isinstance(p[0], str) for p in pairs):
        return {}
    return dict(pairs)


def _encode(args: tuple[Any, ...]) -> bytes:
    text, encoding = args
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError("bytes are encoded in an unknown way")
    return text.encode("latin1")


def _sequence(args: tuple[Any, ...]) -> tuple[Any, ...]:
    inner = args[0] if args else ()
    if not isinstance(inner, list | tuple):
        raise PickleError("a sequence is made of what is none")
    return tuple(inner)


class _Array(Inert):
    """An array whose content follows."""

    stored: StoredArray | None = None

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, bytes):
            self.stored = StoredArray(_code(dtype), _whole(shape), bool(fortran), content)


def settle(value: Any) -> Any:
    """Return the array that an entry stands for, where it is one, else the entry."""
    return value.stored or value if isinstance(value, _Array) else value


def _code(dtype: Any) -> str:
    """Return ``<f8`` of what a pickle made of NumPy's type."""
    named = dtype.args[0] if isinstance(dtype, Inert) and dtype.args else ""
    if not isinstance(named, str):
        return ""
    # The state of a type begins with its version and its byte order.
    state = dtype.items[0] if dtype.items else ()
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
    return (order if order in ("<", ">") else "") + named


def _scalar(args: tuple[Any, ...]) -> Any:
    dtype, content = args
    if not isinstance(content, bytes):
        return Inert("numpy.scalar", args)
    try:
        return StoredArray(_code(dtype), (), fortran=False, content=content).load().item()
    except PickleError:
        return Inert("numpy.scalar", args)


def _from_buffer(args: tuple[Any, ...]) -> Any:
    content, dtype, shape, order = args
    if not isinstance(content, bytes | bytearray):
        return Inert("numpy.ndarray", args)
    return StoredArray(_code(dtype), _whole(shape), order == "F", bytes(content))


# What has no state of its own to settle: everything whose numbers are kept.
TENSOR_RULES: dict[str, Rule] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.Size": _sequence,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda _: {},
    "_codecs.encode": _encode,
}
for _numpy in ("numpy.core", "numpy._core"):
    TENSOR_RULES[f"{_numpy}.multiarray._reconstruct"] = lambda args: _Array(
        "numpy.ndarray", args
    )
    TENSOR_RULES[f"{_numpy}.multiarray.scalar"] = _scalar
    TENSOR_RULES[f"{_numpy}.numeric._frombuffer"] = _from_buffer
