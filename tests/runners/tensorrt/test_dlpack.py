"""Capsules read and written, against PyTorch's and NumPy's own."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
import torch.utils.dlpack
from numpy.typing import NDArray

from hrvit_deploy.errors import RunnerError
from hrvit_deploy.runners.tensorrt import dlpack
from hrvit_deploy.runners.tensorrt.device_array import device_array

CUDA = (2, 0)


class Lender:
    """Memory on the host that claims to lie on a GPU, so that no GPU is needed."""

    def __init__(self, array: NDArray[Any], device: tuple[int, int] = CUDA) -> None:
        self.array, self.device = array, device
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        self.streams.append(stream)
        address = self.array.ctypes.data
        return dlpack.give(self, address, self.array.shape, self.array.dtype, self.device)


def handed_out() -> int:
    gc.collect()
    return len(dlpack._handed_out)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float32, "float32"),
        (torch.float16, "float16"),
        (torch.bfloat16, "bfloat16"),
        (torch.uint8, "uint8"),
        (torch.int64, "int64"),
        (torch.bool, "bool"),
    ],
)
def test_what_torch_hands_out_is_read(dtype: torch.dtype, name: str) -> None:
    tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)[1:]
    taken = dlpack.take(tensor.__dlpack__())
    assert taken.address == tensor.data_ptr()
    assert (taken.shape, taken.strides) == ((1, 3, 4), (12, 4, 1))
    assert (taken.dtype.name, taken.device) == (name, (dlpack.CPU, 0))
    raw = (ctypes.c_uint8 * (12 * taken.dtype.itemsize)).from_address(taken.address)
    held = np.frombuffer(bytes(raw), taken.dtype).reshape(3, 4)
    np.testing.assert_array_equal(held.astype(np.float64), tensor[0].double().numpy())
    taken.release()


def test_memory_is_given_back_once_and_no_sooner() -> None:
    lender = Lender(np.arange(6, dtype=np.float32).reshape(2, 3))
    before = handed_out()
    capsule = lender.__dlpack__()
    taken = dlpack.take(capsule)
    del capsule
    # Its capsule is gone, and the memory is still lent.
    assert handed_out() == before + 1
    taken.release()
    assert handed_out() == before
    lender.__dlpack__()  # dropped by everybody
    assert handed_out() == before


def test_a_capsule_is_used_up() -> None:
    capsule = Lender(np.zeros(3, np.float32)).__dlpack__()
    taken = dlpack.take(capsule)
    with pytest.raises(RunnerError, match="not a fresh DLPack capsule"):
        dlpack.take(capsule)
    taken.release()
    with pytest.raises(RunnerError, match="a str is not"):
        dlpack.take("dltensor")


def test_what_is_handed_out_is_read_by_torch_and_numpy() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    lender, before = Lender(array, (dlpack.CPU, 0)), handed_out()
    tensor = torch.utils.dlpack.from_dlpack(lender)
    assert tensor.data_ptr() == array.ctypes.data
    np.testing.assert_array_equal(tensor.numpy(), array)
    wide = torch.utils.dlpack.from_dlpack(
        Lender(array.astype(ml_dtypes.bfloat16), (dlpack.CPU, 0))
    )
    assert wide.dtype is torch.bfloat16
    np.testing.assert_array_equal(np.from_dlpack(lender), array)
    assert handed_out() > before
    del tensor, wide
    assert handed_out() == before


def test_types_that_the_other_has_not_are_refused() -> None:
    with pytest.raises(RunnerError, match="DLPack has no complex64"):
        Lender(np.zeros(3, np.complex64)).__dlpack__()
    with pytest.raises(RunnerError, match="5 of 64 bits in vectors of 1 has no NumPy type"):
        dlpack.take(torch.zeros(3, dtype=torch.complex64).__dlpack__())


def test_an_array_on_the_gpu_is_told_by_dlpack() -> None:
    lender = Lender(np.zeros((2, 3), np.float32))
    before = handed_out()
    found = device_array("images", lender, stream=77)
    assert found is not None
    assert found.shape == (2, 3)
    assert found.dtype == np.dtype(np.float32)
    assert found.address == lender.array.ctypes.data
    # Its owner has our stream wait, so that nothing is left for us to wait for.
    assert (lender.streams, found.stream) == ([77], None)
    found.release()
    assert handed_out() == before


def test_dlpack_goes_before_the_other_interface() -> None:
    class Both(Lender):
        __cuda_array_interface__ = "torch tells no stream here"

    found = device_array("images", Both(np.zeros((2, 3), np.float32)), stream=77)
    assert found is not None
    found.release()


def test_arrays_on_the_host_are_left_to_others() -> None:
    assert device_array("images", torch.zeros(3), stream=77) is None
    assert device_array("images", np.zeros(3), stream=77) is None


def test_arrays_on_the_gpu_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RunnerError, match="lies on GPU 1") as caught:
        device_array("images", Lender(np.zeros(3), (2, 1)), stream=7)
    assert "CUDA_VISIBLE_DEVICES" in caught.value.hint

    class Strided(Lender):
        def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
            return torch.zeros(4, 3).T.__dlpack__()

    with pytest.raises(RunnerError, match=r"not contiguous .*strides \(1, 3\) elements"):
        device_array("images", Strided(np.zeros(3)), stream=7)

    class Learning(Lender):
        def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
            return torch.zeros(3, requires_grad=True).__dlpack__()

    with pytest.raises(RunnerError, match=r"cannot be shared: .*grad"):
        device_array("images", Learning(np.zeros(3)), stream=7)


def test_the_stride_of_a_single_image_means_nothing() -> None:
    class Single(Lender):
        def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
            tensor = torch.zeros(5, 3, 4, 4)[::2][:1]
            assert tensor.stride(0) == 96
            return tensor.__dlpack__()

    found = device_array("images", Single(np.zeros(3)), stream=7)
    assert found is not None
    found.release()
