"""Arrays that lie on the GPU, whoever made them.

They tell where through DLPack (Python array API standard, ``__dlpack__``), or through
``__cuda_array_interface__``, version 2 or 3 (Numba documentation, "CUDA Array Interface").
DLPack is asked first: it has the owner's stream waited for, which torch's version of the
other does not tell.
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
    """What those need who lent nothing."""


@dataclass(frozen=True)
class DeviceArray:
    """A contiguous array in GPU memory, owned by somebody else.

    Attributes:
        address: Of its first element.
        stream: Handle of the stream it is written on; None if ours waits for it already.
        release: To be called once the memory is not read any more.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None
    release: Callable[[], None] = _nothing


def device_array(name: str, value: Any, stream: int) -> DeviceArray | None:
    """What ``value`` tells of itself; None if it does not lie on a GPU.

    Args:
        name: Of the input it is for, in messages.
        value: Any array.
        stream: Handle of the stream it will be read on.

    Raises:
        RunnerError: It is not contiguous in C order, is masked, or lies on another GPU.
    """
    told = getattr(value, "__dlpack_device__", None)
    place = tuple(map(int, told())) if told is not None else (dlpack.CPU, 0)
    if place[0] in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        if place[1] != 0:
            raise RunnerError(
                f"input {name} lies on GPU {place[1]}, the plan runs on GPU 0",
                "copy it there, or show this process that GPU alone by CUDA_VISIBLE_DEVICES",
            )
        return _from_dlpack(name, value, stream)
    interface = getattr(value, "__cuda_array_interface__", None)
    return None if interface is None else _from_interface(name, value, interface)


def _from_dlpack(name: str, value: Any, stream: int) -> DeviceArray:
    try:
        taken = dlpack.take(value.__dlpack__(stream=stream))
    except (BufferError, RuntimeError) as error:  # what torch says of tensors with gradients
        raise RunnerError(
            f"input {name} cannot be shared: {error}", "give a tensor that needs no gradient"
        ) from error
    if taken.strides is not None and not _in_order(taken.shape, taken.strides, 1):
        taken.release()
        raise RunnerError(
            f"input {name} is not contiguous in C order (strides {taken.strides} elements)",
            CONTIGUOUS,
        )
    return DeviceArray(taken.address, taken.shape, taken.dtype, None, taken.release)


def _in_order(shape: tuple[int, ...], strides: tuple[int, ...], unit: int) -> bool:
    """Whether elements follow on each other; the stride of a single one means nothing."""
    expected = contiguous_strides(shape, unit)
    return all(
        size == 1 or stride == wanted
        for size, stride, wanted in zip(shape, strides, expected, strict=True)
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
