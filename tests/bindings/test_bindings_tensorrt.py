from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.fake_tensorrt import Severity, fake_tensorrt

from hrvit_deploy.bindings import tensorrt_
from hrvit_deploy.bindings.dtypes import numpy_type, type_name
from hrvit_deploy.bindings.log import Log, listening, logger
from hrvit_deploy.errors import MissingDependency
from hrvit_deploy.options import Backend

TRT, RTX = Backend.TENSORRT, Backend.TENSORRT_RTX


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module that stands for TensorRT's front end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tensorrt_, "MODULES", {TRT: ("front_trt", "bare_trt")})
    yield tmp_path / "front_trt.py"
    for name in ("front_trt", "bare_trt"):
        sys.modules.pop(name, None)


def test_rtx_loads_without_a_gpu() -> None:
    module = tensorrt_.load(RTX)
    assert tensorrt_.version_of(module).startswith("1.")
    found = tensorrt_.availability(RTX)
    assert found.available
    assert found.version == tensorrt_.version_of(module)


@pytest.mark.parametrize("version", ["10.13.3.9.post1", "10.16.1.11", "11.4.0.106"])
def test_supported_versions_load(package: Path, version: str) -> None:
    package.write_text(f"__version__ = {version!r}")
    assert tensorrt_.version_of(tensorrt_.load(TRT)) == version.removesuffix(".post1")


@pytest.mark.parametrize("version", ["8.6.1", "10.12.0.36", "12.0.0.1", "unversioned"])
def test_other_versions_are_refused(package: Path, version: str) -> None:
    package.write_text(f"__version__ = {version!r}")
    with pytest.raises(MissingDependency, match=r"needs 10\.13 or later, before 12\.0") as e:
        tensorrt_.load(TRT)
    assert "pip install" in e.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('libnvinfer.so.11: cannot open shared object file')",
        "raise OSError('libnvinfer.so.11: cannot open shared object file')",
        "raise RuntimeError('libnvinfer.so.11 is\\nbroken')",
    ],
)
def test_a_library_that_does_not_load_is_one_line(package: Path, source: str) -> None:
    package.write_text(source)
    found = tensorrt_.availability(TRT)
    assert not found.available
    assert found.reason.startswith("TensorRT does not load: libnvinfer.so.11")
    assert "\n" not in found.reason
    assert "pip install" in found.hint


def test_bare_bindings_are_the_second_choice(package: Path) -> None:
    package.with_name("bare_trt.py").write_text("__version__ = '10.16.0.1'")
    assert tensorrt_.load(TRT).__name__ == "bare_trt"


def test_a_module_without_version_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tensorrt_rtx_bindings")
    assert tensorrt_.version_of(module) == tensorrt_.version_of(tensorrt_.load(RTX))
    assert tensorrt_.version_of(ModuleType("unheard_of")) == ""


def test_listeners_hear_warnings_and_errors() -> None:
    trt = fake_tensorrt()
    with listening(trt) as outer:
        logger(trt).log(Severity.ERROR, "first")
        with listening(trt) as inner:
            logger(trt).log(Severity.WARNING, "second")
            logger(trt).log(Severity.INFO, "unheard")
        logger(trt).log(Severity.INTERNAL_ERROR, "third")
    logger(trt).log(Severity.ERROR, "after")
    assert outer == Log(warnings=["second"], errors=["first", "third"])
    assert inner == Log(warnings=["second"])


def test_a_library_has_one_logger() -> None:
    trt = fake_tensorrt()
    assert logger(trt) is logger(trt)
    assert logger(trt) is not logger(fake_tensorrt())


def test_errors_in_one_line() -> None:
    echo = "[catchCudaError] no driver"
    assert Log(errors=["bad\n  node", echo, "bad node"]).error_text() == "bad node"
    assert Log(errors=[echo]).error_text() == echo
    assert Log().error_text() == ""


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("FLOAT", "float32"),
        ("HALF", "float16"),
        ("BF16", "bfloat16"),
        ("FP8", "float8_e4m3fn"),
        ("UINT8", "uint8"),
        ("BOOL", "bool"),
    ],
)
def test_types_by_numpy_name(member: str, name: str) -> None:
    trt = tensorrt_.load(RTX)
    assert type_name(trt, getattr(trt.DataType, member)) == name
    assert str(numpy_type(name)) == name


def test_rare_types_keep_their_own_name() -> None:
    trt = tensorrt_.load(RTX)
    assert type_name(trt, trt.DataType.INT4) == "int4"
    with pytest.raises(MissingDependency, match="no type float7"):
        numpy_type("float7")
