"""Arrays that lie on the GPU, whoever made them.

They tell where through ``__cuda_array_interface__``, version 2 or 3 (Numba
documentation, "CUDA Array Interface").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hrvit_deploy.bindings.dtypes import numpy_type
from hrvit_deploy.errors import RunnerError


@dataclass(frozen=True)
class DeviceArray:
    """A contiguous array in GPU memory, owned by somebody else.

    Attributes:
        address: Of its first element.
        stream: Handle of the stream it is written on; None if it is ready.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None


def device_array(name: str, value: Any) -> DeviceArray | None:
    """What ``value`` tells of itself; None if it does not lie on a GPU.

    Args:
        name: Of the input it is for, in messages.
        value: Any array.

    Raises:
        RunnerError: It is not contiguous in C order, or masked.
    """
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is None:
        return None
    shape = tuple(map(int, interface["shape"]))
    dtype = typed(interface["typestr"], value)
    if interface.get("mask") is not None:
        raise RunnerError(f"input {name} is masked", "fill the masked elements first")
    strides = interface.get("strides")
    if strides is not None and tuple(strides) != contiguous_strides(shape, dtype.itemsize):
        raise RunnerError(
            f"input {name} is not contiguous in C order (strides {tuple(strides)} bytes)",
            "copy it first, with .contiguous() in torch or ascontiguousarray in CuPy",
        )
    address, _ = interface["data"]
    return DeviceArray(int(address), shape, dtype, interface.get("stream"))


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Bytes from one element to the next along each axis, in C order."""
    strides = [itemsize]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides[: len(shape)]))


def typed(typestr: str, value: Any) -> np.dtype[Any]:
    """The array's type; bfloat16 is a nameless two bytes in this protocol."""
    dtype = np.dtype(typestr)
    if dtype.kind == "V" and dtype.itemsize == 2 and "bfloat16" in str(value.dtype):
        return numpy_type("bfloat16")
    return dtype
