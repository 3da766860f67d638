"""The doctor survives what it examines, and says what to install."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from hrvit_deploy.report import doctor
from hrvit_deploy.report.doctor import Finding, Library, Status, diagnose, examine
from hrvit_deploy.report.probe import probe

GOOD = Finding("", Status.OK)
NAMES = [library.name for library in doctor.LIBRARIES]


def found(**changes: Finding) -> dict[str, Finding]:
    """Everything in order but for what is said."""
    return {**dict.fromkeys([*NAMES, "GPU"], GOOD), **changes}


def statuses(**changes: Finding) -> dict[str, Status]:
    return {
        workflow.name: workflow.status for workflow in doctor.find_workflows(found(**changes))
    }


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library to import, whose code the test writes."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "patient.py"


PATIENT = Library("patient", ("patient",), "pip install patient")


def test_a_library_in_order(module: Path) -> None:
    module.write_text("__version__ = '1.2'\n")
    assert examine(PATIENT) == Finding("patient", Status.OK, "1.2")


def test_one_that_tells_more_than_its_version(module: Path) -> None:
    module.write_text("__version__ = '1.2+long, for CPU GPU'\n")
    assert examine(PATIENT).detail == "1.2+long, for CPU GPU"
    pytest_s = Library("pytest", ("patient",), "", "print('unknown, for CPU GPU')")
    assert examine(pytest_s).detail == f"{pytest.__version__}, for CPU GPU"


def test_one_that_is_not_there() -> None:
    finding = examine(Library("nobody", ("nobody_at_all",), "pip install nobody"))
    assert finding == Finding("nobody", Status.MISSING, "not installed", "pip install nobody")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.abort()", "crashed with SIGABRT"),
        ("raise OSError('libpatient.so.1: cannot open')", "OSError: libpatient.so.1: cannot"),
        ("import time; time.sleep(60)", "did not load within 2 s"),
        ("raise SystemExit(3)", "failed without a word"),
    ],
)
def test_one_that_breaks_when_it_loads(module: Path, code: str, says: str) -> None:
    module.write_text(code)
    finding = examine(PATIENT, timeout_s=2)
    assert finding.status is Status.BROKEN
    assert finding.detail.startswith(says)
    assert finding.mend == "pip install patient"


def test_one_that_is_too_old(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module.write_text("__version__ = '1.9.3'\n")
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: ["patient>=1.10; extra == 'x'"]
    )
    assert examine(PATIENT).detail == "1.9.3 is older than 1.10"
    module.write_text("__version__ = '1.10+cpu'\n")
    assert examine(PATIENT).status is Status.OK


def test_floors_are_those_of_the_package_itself() -> None:
    assert doctor.oldest_supported("tensorrt") == "10.13"
    assert doctor.oldest_supported("ml-dtypes") == doctor.oldest_supported("ml_dtypes") != ""
    assert doctor.oldest_supported("torch")
    assert doctor.oldest_supported("nobody") == ""


def test_this_package_s_errors_are_shown_bare() -> None:
    code = "from hrvit_deploy.errors import RunnerError; raise RunnerError('no GPU')"
    assert probe(code).text == "no GPU"


def test_all_workflows_are_open_when_all_is_there() -> None:
    assert set(statuses().values()) == {Status.OK}


def test_workflows_close_with_what_they_need() -> None:
    missing = Finding("GPU", Status.MISSING, "none", "find one")
    closed = {name for name, status in statuses(GPU=missing).items() if status is not Status.OK}
    assert closed == {"build with TensorRT", "run engines"}


def test_one_tensorrt_is_enough_to_run_engines() -> None:
    broken = Finding("tensorrt", Status.BROKEN, "", "pip install tensorrt")
    assert statuses(tensorrt=broken)["run engines"] is Status.OK
    both = found(**{"tensorrt": broken, "tensorrt-rtx": broken})
    workflows = {workflow.name: workflow for workflow in doctor.find_workflows(both)}
    assert workflows["run engines"].mend == "pip install tensorrt"
    assert workflows["run engines"].detail == "needs tensorrt"


@pytest.mark.parametrize(("broken", "ok"), [("onnxruntime", False), ("openvino", True)])
def test_the_verdict_is_the_main_road_s(
    monkeypatch: pytest.MonkeyPatch, broken: str, ok: bool
) -> None:
    def examined(library: Library, timeout_s: float) -> Finding:
        status = Status.BROKEN if library.name == broken else Status.OK
        return Finding(library.name, status, "", "mend it")

    monkeypatch.setattr(doctor, "examine", examined)
    diagnosis = diagnose()
    assert diagnosis.ok is ok
    assert [finding.name for finding in diagnosis.libraries] == NAMES
    assert [f.name for f in diagnosis.libraries if f.status is not Status.OK] == [broken]


def test_the_driver_s_tool_stands_in_for_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda module: False)
    monkeypatch.setattr(doctor, "describe_gpu", lambda: {"name": "L4", "driver": "570.8"})
    gpu = doctor._look_for_gpu(1)
    assert gpu.status is Status.BROKEN
    assert gpu.detail == "L4, driver 570.8, without cuda-python"
    monkeypatch.setattr(doctor, "describe_gpu", lambda: None)
    assert doctor._look_for_gpu(1).status is Status.MISSING


@pytest.mark.slow
def test_this_machine_is_diagnosed() -> None:
    diagnosis = diagnose()
    assert diagnosis.ok
    versions = {finding.name: finding.detail for finding in diagnosis.libraries}
    assert versions["onnx"] == importlib.metadata.version("onnx")
    assert versions["openvino"] == f"{importlib.metadata.version('openvino')}, for CPU"
