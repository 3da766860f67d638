"""What CMake says of a machine that lacks something, and the real TensorRT headers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import small_artefacts
from cpp_build import CPP, TESTS, cmake, missing, openvino_dir, run
from cpp_probe import call
from test_cpp_plans import plan

INCLUDES = [Path(p) for p in os.environ.get("HRVIT_TENSORRT_INCLUDE", "").split(":") if p]
# A library of its own for whatever is linked, with the header's version.
STUB = """
extern "C" void* createInferRuntime_INTERNAL(void*, int) noexcept { return nullptr; }
extern "C" int getInferLibMajorVersion() noexcept { return MAJOR; }
extern "C" int getInferLibMinorVersion() noexcept { return MINOR; }
extern "C" int getInferLibPatchVersion() noexcept { return PATCH; }
extern "C" int getInferLibBuildVersion() noexcept { return BUILD; }
"""
PARTS = ("MAJOR", "MINOR", "PATCH", "BUILD")

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-DHRVIT_OPENVINO=OFF", "-DHRVIT_TENSORRT=OFF"],
            "There is nothing to run a network in",
        ),
        (["-DHRVIT_OPENVINO=ON", "-DOpenVINO_DIR=/nowhere"], "OpenVINO was not found: give"),
        (["-DHRVIT_TENSORRT=ON", "-DTensorRT_ROOT=/nowhere"], "TensorRT (NvInferRuntime.h and"),
        (["-DHRVIT_TENSORRT=MAYBE"], "HRVIT_TENSORRT is 'MAYBE': give AUTO, ON or OFF"),
    ],
)
def test_what_cannot_be_built_is_told(tmp_path: Path, options: list[str], message: str) -> None:
    command = ["cmake", "-S", str(CPP), "-B", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


@pytest.mark.skipif(
    "HRVIT_CLANG_TIDY" not in os.environ or not shutil.which("clang-tidy"),
    reason="takes minutes: set HRVIT_CLANG_TIDY=1 and apt-get install clang-tidy",
)
@pytest.mark.slow
def test_clang_tidy_finds_nothing(tmp_path: Path) -> None:
    options = ("-DHRVIT_OPENVINO=ON", f"-DOpenVINO_DIR={openvino_dir()}")
    tidy = "-DCMAKE_CXX_CLANG_TIDY=clang-tidy;--quiet"
    cmake(TESTS / "stand_ins", tmp_path, "-DCMAKE_BUILD_TYPE=Debug", *options, tidy)


def version_in(include: Path) -> list[str]:
    """Major, minor, patch and build, of either flavour."""
    header = (include / "NvInferVersion.h").read_text()
    flavour = "RTX" if "TRT_MAJOR_RTX" in header else "ENTERPRISE"
    found = [re.search(rf"#define TRT_{part}_{flavour} (\d+)", header) for part in PARTS]
    return [match[1] for match in found if match]


@pytest.mark.skipif(
    not INCLUDES,
    reason="TensorRT's headers are in no package: give the include folders of the versions to"
    " compile against in HRVIT_TENSORRT_INCLUDE, with a colon between",
)
@pytest.mark.parametrize("include", INCLUDES, ids=str)
def test_tensorrt_backend_compiles_against_the_real_headers(
    tmp_path: Path, include: Path
) -> None:
    if not shutil.which("nvcc") and not Path("/usr/local/cuda").exists():
        pytest.skip("there is no CUDA toolkit here")
    numbers = version_in(include)
    defined = [f"-D{part}={number}" for part, number in zip(PARTS, numbers, strict=True)]
    stub, library = tmp_path / "stub.cpp", tmp_path / "libnvinfer.so"
    stub.write_text(STUB)
    run("c++", "-shared", "-fPIC", *defined, "-o", str(library), str(stub))
    build = tmp_path / "build"
    cmake(
        CPP,
        build,
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DHRVIT_WERROR=ON",
        "-DHRVIT_OPENVINO=OFF",
        "-DHRVIT_TENSORRT=ON",
        f"-DTensorRT_INCLUDE_DIR={include}",
        f"-DTensorRT_LIBRARY={library}",
    )
    made = plan(tmp_path, version=".".join(numbers))
    ran = call(build / "hrvit_infer", made.path, "photo.jpg")
    # Without a driver it comes so far; with one, to the stub that opens nothing.
    assert ran.code == 1
    assert ran.err.startswith(
        ("error: CUDA could not count GPUs", "error: the NVIDIA driver finds no GPU")
    )
    (tmp_path / "graph").mkdir()
    graph = small_artefacts.artefact(tmp_path / "graph")
    ran = call(build / "hrvit_infer", graph.path, "photo.jpg")
    assert f"{graph.path} runs in OpenVINO, which this build has not" in ran.err
