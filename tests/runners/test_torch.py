"""The PyTorch runners, on networks of a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hrvit_deploy.errors import RunnerError, UsageError
from hrvit_deploy.runners.torch_ import CompiledRunner, EagerRunner


class Double(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image * 2


@pytest.fixture
def ones() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ones((1, 3, 4, 4), np.float32)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_it_runs_in_evaluation_mode_without_gradients(ones: Any) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.9))
    with EagerRunner(network, output="scores") as runner:
        first, second = (runner.run({"image": ones})["scores"] for _ in range(2))
    assert first.shape == (1, 2, 4, 4)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)


def test_read_only_images_run_without_a_warning(
    ones: Any, recwarn: pytest.WarningsRecorder
) -> None:
    ones.flags.writeable = False
    with EagerRunner(Double()) as runner:
        assert runner.run({"image": ones})["logits"].max() == 2
    assert not recwarn.list


def test_bfloat16_goes_in_and_out(ones: Any) -> None:
    with EagerRunner(Double()) as runner:
        answer = runner.run({"image": ones.astype(ml_dtypes.bfloat16)})["logits"]
    assert answer.dtype == ml_dtypes.bfloat16
    assert (answer.astype(np.float32) == 2).all()


def test_nan_passes_through(ones: Any) -> None:
    with EagerRunner(Double()) as runner:
        assert np.isnan(runner.run({"image": ones * np.nan})["logits"]).all()


def test_threads_are_recorded_and_given_back() -> None:
    torch.set_num_threads(2)
    runner = EagerRunner(Double(), threads=1)
    assert torch.get_num_threads() == runner.settings["threads"] == 1
    assert runner.settings["version"] == torch.__version__
    runner.close()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    runner.close()
    assert torch.get_num_threads() == 1


def test_no_threads_are_refused() -> None:
    with pytest.raises(UsageError, match="0 threads"):
        EagerRunner(Double(), threads=0)


def test_a_closed_runner_refuses(ones: Any) -> None:
    runner = EagerRunner(Double())
    runner.close()
    with pytest.raises(RunnerError, match="eager is closed"):
        runner.run({"image": ones})


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"x": np.ones(3)}, "inputs are named x"),
        ({"image": [1.0]}, "image is a list"),
        ({"image": np.array(["a"])}, "image: "),
        ({"image": np.ones((1, 4, 4, 4), np.float32)}, "float32 of 1 x 4 x 4 x 4"),
        ({"image": np.ones((1, 3, 4, 4), np.int32)}, "PyTorch failed on torch.int32"),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(inputs: dict[str, Any], says: str) -> None:
    with EagerRunner(nn.Conv2d(3, 2, 1)) as runner:
        with pytest.raises(RunnerError, match=says) as caught:
            runner.run(inputs)
        assert "\n" not in caught.value.message
        assert caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_is_an_error() -> None:
    with pytest.raises(RunnerError, match="sees no CUDA device"):
        EagerRunner(Double(), device="cuda")


@pytest.mark.gpu
def test_it_runs_on_the_gpu(ones: Any) -> None:
    with EagerRunner(nn.Conv2d(3, 2, 1), device="cuda") as runner:
        assert runner.run({"image": ones})["logits"].shape == (1, 2, 4, 4)


@pytest.mark.slow
def test_the_compiled_network_answers_the_same(ones: Any) -> None:
    with CompiledRunner(Double()) as runner:
        assert runner.name == "compile"
        np.testing.assert_array_equal(runner.run({"image": ones})["logits"], 2 * ones)


def test_a_thousand_runs_leak_nothing() -> None:
    image = np.ones((1, 1, 512, 256), np.float32)
    with EagerRunner(Double(), threads=1) as runner:
        for _ in range(50):
            runner.run({"image": image})
        before = resident_mib()
        for _ in range(1000):
            runner.run({"image": image})
        grown = resident_mib() - before
    # One forgotten answer is half a MiB, so all of them 500.
    assert grown < 16


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20
