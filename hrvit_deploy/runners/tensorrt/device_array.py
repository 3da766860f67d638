"""Reads arrays on the GPU from any library.

Libraries share them through DLPack (Python array API standard, ``__dlpack__``), or through
``__cuda_array_interface__``, version 2 or 3 (Numba documentation, "CUDA Array Interface").
DLPack is tried first: it makes the reader's stream wait for the owner's, which torch's
version of the other does not name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrvit_deploy.bindings.dtypes import numpy_type
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.runners.tensorrt import dlpack

CONTIGUOUS = "copy it first, with .contiguous() in torch or ascontiguousarray in CuPy"


def _nothing() -> None:
    """Do nothing: the default ``release`` of arrays that need none."""


@dataclass(frozen=True)
class DeviceArray:
    """A contiguous array in GPU memory that another library owns.

    Attributes:
        address: Address of its first element.
        shape: In elements.
        stream: Handle of the stream it is written on; None if the reader's stream waits for
            it already.
        release: Must be called once when the memory is not read any more.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None
    release: Callable[[], None] = _nothing


def device_array(name: str, value: Any, stream: int) -> DeviceArray | None:
    """Return ``value`` as an array on the GPU, or None if it is not on a GPU.

    Args:
        name: Name of the input, for messages.
        value: Any array.
        stream: Handle of the stream that will read it.

    Raises:
        RunnerError: The array is not contiguous in C order, is masked, or is on another GPU.
    """
    dlpack_device = getattr(value, "__dlpack_device__", None)
    kind, index = map(int, dlpack_device()) if dlpack_device is not None else (dlpack.CPU, 0)
    if kind in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        if index != 0:
            raise RunnerError(
                f"input {name} lies on GPU {index}, the plan runs on GPU 0",
                "copy it there, or show this process that GPU alone by CUDA_VISIBLE_DEVICES",
            )
        return _from_dlpack(name, value, stream)
    interface = getattr(value, "__cuda_array_interface__", None)
    return None if interface is None else _from_interface(name, value, interface)


def _from_dlpack(name: str, value: Any, stream: int) -> DeviceArray:
    try:
        tensor = dlpack.take(value.__dlpack__(stream=stream))
    except (BufferError, RuntimeError) as error:  # what torch says of tensors with gradients
        raise RunnerError(
            f"input {name} cannot be shared: {error}", "give a tensor that needs no gradient"
        ) from error
    if tensor.strides is not None and not _in_order(tensor.shape, tensor.strides, 1):
        tensor.release()
        raise RunnerError(
            f"input {name} is not contiguous in C order (strides {tensor.strides} elements)",
            CONTIGUOUS,
        )
    return DeviceArray(tensor.address, tensor.shape, tensor.dtype, None, tensor.release)


def _in_order(shape: tuple[int, ...], strides: tuple[int, ...], unit: int) -> bool:
    """Return whether elements are contiguous; the stride of a single one means nothing."""
    expected = contiguous_strides(shape, unit)
    return all(
        size == 1 or stride == contiguous
        for size, stride, contiguous in zip(shape, strides, expected, strict=True)
    )


def _from_interface(name: str, value: Any, interface: dict[str, Any]) -> DeviceArray:
    shape = tuple(map(int, interface["shape"]))
    dtype = typed(interface["typestr"], value)
    if interface.get("mask") is not None:
        raise RunnerError(f"input {name} is masked", "fill the masked elements first")
    strides = interface.get("strides")
    if strides is not None and not _in_order(shape, tuple(strides), dtype.itemsize):
        raise RunnerError(
            f"input {name} is not contiguous in C order (strides {tuple(strides)} bytes)",
            CONTIGUOUS,
        )
    address, _ = interface["data"]
    return DeviceArray(int(address), shape, dtype, interface.get("stream"))


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the strides of a contiguous array in C order, in the unit of ``itemsize``."""
    strides = [itemsize]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides[: len(shape)]))


def typed(typestr: str, value: Any) -> np.dtype[Any]:
    """Return the array's type; this protocol has no name for bfloat16, only two bytes."""
    dtype = np.dtype(typestr)
    if dtype.kind == "V" and dtype.itemsize == 2 and "bfloat16" in str(value.dtype):
        return numpy_type("bfloat16")
    return dtype
