"""The C++ library, built once for all tests: with sanitizers, warnings as errors, and
stand-ins for TensorRT and CUDA."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

CPP = Path(__file__).parents[2] / "cpp"
TESTS = CPP / "tests"
HEADERS = ("nlohmann/json.hpp", "openssl/evp.h", "jpeglib.h", "png.h")
PACKAGES = "apt-get install cmake g++ nlohmann-json3-dev libssl-dev libjpeg-dev libpng-dev"


def missing() -> str:
    """What building lacks here, in words; empty if nothing."""
    tools = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
    if tools:
        return f"there is no {' and no '.join(tools)}: {PACKAGES}"
    asked = "\n".join(
        f"#if !__has_include(<{name}>)\n#error {name}\n#endif" for name in HEADERS
    )
    command = ["c++", "-x", "c++", "-fsyntax-only", "-"]
    found = subprocess.run(command, input=asked, text=True, capture_output=True, check=False)
    absent = [name for name in HEADERS if f"#error {name}" in found.stderr]
    return f"there is no {', '.join(absent)}: {PACKAGES}" if absent else ""


def openvino_dir() -> Path | None:
    """Where OpenVINO's wheel has its CMake files."""
    spec = importlib.util.find_spec("openvino")
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0], "cmake") if folders else None


def cmake(source: Path, folder: Path, *options: str, targets: Sequence[str] = ()) -> None:
    """Configure and build; what the compiler said is in the error if it failed."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run("cmake", "-S", str(source), "-B", str(folder), *generator, *options)
    chosen = [word for target in targets for word in ("--target", target)]
    run("cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1), *chosen)


def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def build_once(folder: Path) -> Path:
    """The instrumented build, made by whichever process comes first; others find it made."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cmake(
            TESTS / "stand_ins",
            folder,
            "-DCMAKE_BUILD_TYPE=None",
            "-DCMAKE_CXX_FLAGS=-O1 -g1",
            "-DHRVIT_OPENVINO=ON",
            f"-DOpenVINO_DIR={openvino_dir()}",
            "-DHRVIT_WERROR=ON",
            "-DHRVIT_SANITIZE=ON",
        )
    return folder / "hrvit"
