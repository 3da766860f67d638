"""Every example runs, and does what it says."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import serving
from support.command_line import TINY
from support.fake_cuda import FakeRuntime
from support.fake_tensorrt import fake_tensorrt
from support.labelled import ade20k

from hrvit_deploy.bindings.cuda_ import Cuda, host_view

SIZE = ("--size", "64")
EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str, variant: Path | None = TINY) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    command += ["--variant", str(variant)] if variant else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    import torch

    from hrvit_deploy.model.network import build_network, set_random_weights
    from hrvit_deploy.model.variants import load_variant
    from hrvit_deploy.options import Task

    network = build_network(load_variant(str(TINY)), Task.SEGMENT, 4)
    set_random_weights(network, 2)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def test_checkpoint_to_engine(checkpoint: Path, tmp_path: Path) -> None:
    out = run(
        "01_checkpoint_to_engine.py", str(checkpoint), "--size", "64", "--out", str(tmp_path)
    )

    assert "tiny to segment 4 classes" in out
    assert "passed: True" in out
    assert "float16" in out
    assert list(tmp_path.glob("engines/*.plan"))


def test_your_own_rewrite() -> None:
    assert "plain-final-norms: 6" in run("02_your_own_rewrite.py")


def test_your_own_variant(tmp_path: Path) -> None:
    out = run("03_your_own_variant.py", "--out", str(tmp_path))

    assert "tiny-shallow" in out
    assert list(tmp_path.glob("export/*tiny-shallow*.onnx"))


def test_int8(checkpoint: Path, tmp_path: Path) -> None:
    data = ade20k(tmp_path / "data", classes=4)
    images = data / "images" / "validation"

    # Weights that nobody trained decide no better than chance, which judges nothing.
    out = run(
        "04_int8.py",
        *(str(checkpoint), str(images), str(data), *SIZE),
        *("--out", str(tmp_path), "--accept-parity"),
    )

    assert "ranges from 3 images" in out
    assert "miou" in out
    assert "layers" in out
    assert list(tmp_path.glob("engines/*-fp16-int8-rtx.plan"))


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_session(tmp_path: Path, provider: str) -> None:
    artefact = serving.segmenter(tmp_path)
    images = []
    for index, pixels in enumerate(serving.pictures(2)):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        images.append(str(tmp_path / f"{index}.png"))

    out = run(
        "05_session.py", str(artefact.path), *images, "--provider", provider, variant=None
    )

    assert f"{provider}, to segment" in out.replace("onnxruntime-", "").replace("-cpu", "")
    assert "0.png: mostly " in out
    assert "2 answers at once" in out
    assert "the answers of one: True" in out


class GPUArray:
    """PyCUDA's, as far as the example goes, in the fake GPU's memory.

    Parameters and members are those that pycuda/gpuarray.py has.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        allocator: Any = None,
        base: Any = None,
        gpudata: int | None = None,
        strides: Any = None,
        order: str = "C",
    ) -> None:
        assert base is not None, "else nobody keeps the memory"
        assert gpudata is not None
        self.shape, self.dtype, self.base, self.gpudata = shape, dtype, base, gpudata

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "strides": None,
            "data": (self.gpudata, False),
            "typestr": self.dtype.str,
            "stream": None,
            "version": 3,
        }

    def get(self) -> Any:
        return host_view(self.gpudata, self.dtype, self.shape).copy()


def pycuda_over(cuda: FakeRuntime) -> dict[str, ModuleType]:
    """PyCUDA's modules, as far as the example goes."""

    def to_gpu(array: Any) -> GPUArray:
        address = Cuda(cuda).malloc(array.nbytes)
        host_view(address, array.dtype, array.shape)[...] = array
        return GPUArray(array.shape, array.dtype, base=array, gpudata=address)

    names = ("pycuda", "pycuda.autoprimaryctx", "pycuda.gpuarray")
    modules: dict[str, Any] = {name: ModuleType(name) for name in names}
    modules["pycuda"].gpuarray = modules["pycuda.gpuarray"]
    modules["pycuda"].autoprimaryctx = modules["pycuda.autoprimaryctx"]
    modules["pycuda.gpuarray"].to_gpu = to_gpu
    modules["pycuda.gpuarray"].GPUArray = GPUArray
    return modules


def test_pycuda_over_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cuda = FakeRuntime()
    for name, module in pycuda_over(cuda).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("hrvit_deploy.bindings.tensorrt_.load", lambda _: fake_tensorrt())
    monkeypatch.setattr("hrvit_deploy.runners.tensorrt.runner.Cuda", lambda: Cuda(cuda))
    plan = serving.plan(tmp_path)
    Image.fromarray(serving.pictures(1)[0]).save(tmp_path / "a.png")
    example = str(EXAMPLES / "06_pycuda.py")
    arguments = [example, str(plan.path), str(tmp_path / "a.png"), "--runs", "5"]
    monkeypatch.setattr(sys, "argv", arguments)

    runpy.run_path(example)

    out = capsys.readouterr().out
    assert "tensorrt on Fake L4: logits of (1, 3, 4, 4)" in out
    assert "off by 0.0e+00" in out
    assert "ms on the GPU alone" in out
    assert cuda.launched


@pytest.mark.gpu
def test_pycuda(tmp_path: Path) -> None:
    pytest.importorskip("pycuda")
    from hrvit_deploy.engines.build import build_engine
    from hrvit_deploy.options import BuildOptions, Precision
    from hrvit_deploy.progress import SilentProgress

    graph = serving.segmenter(tmp_path, batch=1)
    plan = build_engine(graph, tmp_path, BuildOptions(Precision.FP32), SilentProgress())
    Image.fromarray(serving.pictures(1)[0]).save(tmp_path / "a.png")

    out = run("06_pycuda.py", str(plan.path), str(tmp_path / "a.png"), variant=None)

    assert "ms on the GPU alone" in out


def test_every_example_is_listed_and_tested() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("[0-9]*.py"):
        assert f"]({path.name})" in listed
        assert f'"{path.name}"' in tested
