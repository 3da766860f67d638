"""What CMake says of a machine that lacks something, and the real TensorRT headers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import small_artefacts
from support.cpp_build import CPP, TESTS, cmake, missing, openvino_dir, run
from support.cpp_probe import Probe, call
from test_cpp_plans import plan

import hrvit_deploy
from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.images import photographs
from hrvit_deploy.options import BuildOptions, Precision
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress

INCLUDES = [Path(p) for p in os.environ.get("HRVIT_TENSORRT_INCLUDE", "").split(":") if p]
# A library of its own for whatever is linked, with the header's version.
STUB = """
extern "C" void* createInferRuntime_INTERNAL(void*, int) noexcept { return nullptr; }
extern "C" int getInferLibMajorVersion() noexcept { return MAJOR; }
extern "C" int getInferLibMinorVersion() noexcept { return MINOR; }
extern "C" int getInferLibPatchVersion() noexcept { return PATCH; }
extern "C" int getInferLibBuildVersion() noexcept { return BUILD; }
"""
LIBRARY = os.environ.get("HRVIT_TENSORRT_LIBRARY", "")
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


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(
    not INCLUDES or not LIBRARY,
    reason="give TensorRT's include folder in HRVIT_TENSORRT_INCLUDE, and the library itself in"
    " HRVIT_TENSORRT_LIBRARY",
)
def test_plan_answers_as_python_does(exported: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    cmake(
        CPP,
        build,
        "-DHRVIT_TESTS=ON",
        "-DHRVIT_OPENVINO=OFF",
        "-DHRVIT_TENSORRT=ON",
        f"-DTensorRT_INCLUDE_DIR={INCLUDES[0]}",
        f"-DTensorRT_LIBRARY={LIBRARY}",
    )
    (graph,) = (exported / "export").glob("*.onnx")
    options = BuildOptions(precision=Precision.FP32)
    made = stages.build(
        open_artefact(graph), options, tmp_path, ImageSource(limit=2), SilentProgress()
    )
    probe = Probe(build / "hrvit_probe", tmp_path)
    pixels = photographs()[0].pixels
    ours = probe.array("answer", made.path, "stretch", 0, *probe.images([pixels]))
    with hrvit_deploy.load(made.path) as session:
        theirs = session(pixels)
    assert (ours.reshape(theirs.shape) == theirs).mean() >= 0.999
