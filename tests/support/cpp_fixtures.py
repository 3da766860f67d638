"""Programs of the C++ library, or a skip that says what building them lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.cpp_build import build_once, missing, openvino_dir
from support.cpp_probe import Infer, Probe


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with ``hrvit_infer`` and ``hrvit_probe``; workers share it.

    ``HRVIT_CPP_BUILD`` names a folder to keep between runs, which spares compiling again.
    """
    reason = missing() or ("" if openvino_dir() else "OpenVINO is not installed")
    if reason:
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return build_once(Path(os.environ.get("HRVIT_CPP_BUILD", shared / "cpp")))


@pytest.fixture
def probe(built: Path, tmp_path: Path) -> Probe:
    """Call one piece of the library."""
    return Probe(built / "hrvit_probe", tmp_path)


@pytest.fixture
def infer(built: Path) -> Infer:
    """Run ``hrvit_infer``."""
    return Infer(built / "hrvit_infer")
