"""Arrays that cross between libraries as DLPack capsules, read and written through ctypes.

The structures are those of dlpack.h before version 1.0, which every library still hands
out to whoever names no version (Python array API standard, ``__dlpack__``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrvit_deploy.bindings.dtypes import numpy_type
from hrvit_deploy.errors import RunnerError

CPU, CUDA, CUDA_MANAGED = 1, 2, 13
FRESH, USED = b"dltensor", b"used_dltensor"
# DLDataTypeCode of dlpack.h to how NumPy spells types of that kind.
INT, UINT, FLOAT, BFLOAT, BOOL = 0, 1, 2, 4, 6
CODES = {"i": INT, "u": UINT, "f": FLOAT, "b": BOOL}
KINDS = {INT: "int", UINT: "uint", FLOAT: "float", BFLOAT: "bfloat"}
BITS = 8


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("index", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("vector_lanes", ctypes.c_uint16),
    )


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
    )


def _python(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's own C interface, told its types; shared with nobody."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer_of = _python(
    "PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p
)
_rename = _python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_new = _python("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)
# Of a capsule that is being destroyed: as an object, Python would bring it back to life.
_is_valid_dying = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_pointer_of_dying = _python(
    "PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p
)


@dataclass(frozen=True)
class Taken:
    """What a capsule held.

    Attributes:
        address: Of the first element.
        shape: In elements.
        strides: In elements; None for contiguous in C order.
        device: Type and index, such as ``(2, 0)`` for the first GPU.
        release: To be called once, when the memory is not read any more.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    device: tuple[int, int]
    release: Callable[[], None]


def take(capsule: Any) -> Taken:
    """What lies in a capsule, which is used up by that.

    Args:
        capsule: As ``__dlpack__`` returns it.

    Raises:
        RunnerError: It is no DLPack capsule or used already, or NumPy has no such type.
    """
    if not _is_valid(capsule, FRESH):
        raise RunnerError(
            f"a {type(capsule).__name__} is not a fresh DLPack capsule",
            "give the array itself, not what its __dlpack__ returned before",
        )
    address = _pointer_of(capsule, FRESH)
    managed = _Managed.from_address(address)
    tensor = managed.tensor
    axes = range(tensor.ndim)
    taken = Taken(
        (tensor.data or 0) + tensor.byte_offset,
        tuple(tensor.shape[axis] for axis in axes),
        tuple(tensor.strides[axis] for axis in axes) if tensor.strides else None,
        _numpy_type(tensor.dtype),
        (tensor.device.type, tensor.device.index),
        # Some owners need no telling, and have no deleter.
        lambda: managed.deleter(address) if managed.deleter else None,
    )
    # Its own destructor now leaves the memory to us.
    _rename(capsule, USED)
    return taken


def _numpy_type(found: _Type) -> np.dtype[Any]:
    if found.vector_lanes == 1 and found.code == BOOL and found.bits == BITS:
        return np.dtype(bool)
    if found.vector_lanes != 1 or found.code not in KINDS or found.bits % BITS:
        raise RunnerError(
            f"DLPack type {found.code} of {found.bits} bits in vectors of"
            f" {found.vector_lanes} has no NumPy type",
            "convert the array to the type the sidecar names",
        )
    return numpy_type(f"{KINDS[found.code]}{found.bits}")


# What was handed out and is still in use, by the address of its structure.
_handed_out: dict[int, tuple[Any, ...]] = {}


def give(
    owner: Any,
    address: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    device: tuple[int, int],
) -> Any:
    """A capsule of memory that somebody owns, who lives at least as long as its taker.

    Args:
        owner: Kept alive until the taker is done, or the capsule is dropped untaken.
        address: Of its first element; contiguous in C order.
        shape: In elements.
        dtype: One that DLPack has.
        device: Type and index.

    Raises:
        RunnerError: DLPack has no such type.
    """
    code = BFLOAT if dtype.name == "bfloat16" else CODES.get(dtype.kind)
    if code is None:
        raise RunnerError(f"DLPack has no {dtype}", "copy it to the host with .numpy()")
    extents = (ctypes.c_int64 * len(shape))(*shape)
    managed = _Managed()
    managed.tensor.data = address
    managed.tensor.device = _Device(*device)
    managed.tensor.ndim = len(shape)
    managed.tensor.dtype = _Type(code, dtype.itemsize * BITS, 1)
    managed.tensor.shape = extents
    managed.deleter = _DELETE
    place = ctypes.addressof(managed)
    _handed_out[place] = (managed, extents, owner)
    return _new(place, FRESH, _DESTROY)


def _delete(place: int) -> None:
    _handed_out.pop(place, None)


def _destroy(capsule: int) -> None:
    # Renamed by its taker, it is the taker's to delete.
    if _is_valid_dying(capsule, FRESH):
        _delete(_pointer_of_dying(capsule, FRESH))


# Kept for ever: whoever took an array calls them when it likes.
_DELETE, _DESTROY = _Deleter(_delete), _Destructor(_destroy)
