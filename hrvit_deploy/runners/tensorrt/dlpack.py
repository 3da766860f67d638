"""Reads and writes DLPack capsules, which pass arrays between libraries, through ctypes.

The structures are those of dlpack.h before version 1.0, which every library still returns
when the caller names no version (Python array API standard, ``__dlpack__``).
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
# Codes of DLDataTypeCode in dlpack.h, and the NumPy kinds and names of the same types.
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
    """Return a function of Python's C API with its types set, for this module alone."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer_of = _python(
    "PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p
)
_rename = _python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_new = _python("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)
# For a capsule that is being destroyed: passing it as an object would revive it.
_is_valid_dying = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_pointer_of_dying = _python(
    "PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p
)


@dataclass(frozen=True)
class SharedTensor:
    """The contents of a capsule.

    Attributes:
        address: Address of the first element.
        shape: In elements.
        strides: In elements; None for a contiguous array in C order.
        device: Type and index, such as ``(2, 0)`` for the first GPU.
        release: Must be called once, when the memory is not read any more.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    device: tuple[int, int]
    release: Callable[[], None]


def take(capsule: Any) -> SharedTensor:
    """Take the tensor out of a capsule, which can be done once.

    Args:
        capsule: The result of ``__dlpack__``.

    Raises:
        RunnerError: ``capsule`` is no DLPack capsule or was used before, or NumPy has no such
            type.
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
    shared = SharedTensor(
        (tensor.data or 0) + tensor.byte_offset,
        tuple(tensor.shape[axis] for axis in axes),
        tuple(tensor.strides[axis] for axis in axes) if tensor.strides else None,
        _numpy_type(tensor.dtype),
        (tensor.device.type, tensor.device.index),
        # Some owners need no notice, and have no deleter.
        lambda: managed.deleter(address) if managed.deleter else None,
    )
    # The capsule's destructor now leaves the memory to the caller of release.
    _rename(capsule, USED)
    return shared


def _numpy_type(dtype: _Type) -> np.dtype[Any]:
    if dtype.vector_lanes == 1 and dtype.code == BOOL and dtype.bits == BITS:
        return np.dtype(bool)
    if dtype.vector_lanes != 1 or dtype.code not in KINDS or dtype.bits % BITS:
        raise RunnerError(
            f"DLPack type {dtype.code} of {dtype.bits} bits in vectors of"
            f" {dtype.vector_lanes} has no NumPy type",
            "convert the array to the type the sidecar names",
        )
    return numpy_type(f"{KINDS[dtype.code]}{dtype.bits}")


# The structures that are still in use elsewhere, with their owners, by address.
_handed_out: dict[int, tuple[Any, ...]] = {}


def give(
    owner: Any,
    address: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    device: tuple[int, int],
) -> Any:
    """Return a capsule of an array, and keep the owner of its memory alive.

    Args:
        owner: Kept alive until the consumer is done, or the capsule is deleted unused.
        address: Address of the first element; the array is contiguous in C order.
        shape: In elements.
        dtype: A type that DLPack has.
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
    structure = ctypes.addressof(managed)
    _handed_out[structure] = (managed, extents, owner)
    return _new(structure, FRESH, _DESTROY)


def _delete(structure: int) -> None:
    _handed_out.pop(structure, None)


def _destroy(capsule: int) -> None:
    # A consumer renames the capsule, and then deletes the structure itself.
    if _is_valid_dying(capsule, FRESH):
        _delete(_pointer_of_dying(capsule, FRESH))


# Kept for ever: consumers may call them at any time.
_DELETE, _DESTROY = _Deleter(_delete), _Destructor(_destroy)
