"""TensorRT's releases, as far as bindings over empty libraries show them."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FETCH = runpy.run_path(str(ROOT / "tools" / "fetch_bindings.py"))
VERSIONS = FETCH["VERSIONS"]
NEWEST = VERSIONS[-1]
RTX = "tensorrt-rtx"
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of libraries that can be linked to and do nothing."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.fail("a C compiler is needed to load TensorRT's bindings: install gcc")
    folder = tmp_path_factory.mktemp("stubs")
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for major in {version.split(".")[0] for version in VERSIONS}:
        for library in LIBRARIES:
            name = f"lib{library}.so.{major}"
            command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}"]
            subprocess.run([*command, "-o", str(folder / name), str(source)], check=True)
    return folder


def check(release: str, stubs: Path, sources: list[Path]) -> dict[str, Any]:
    """Hold sources against one release, in a process of its own."""
    environment = dict(os.environ)
    backend = RTX
    if release != RTX:
        backend = "tensorrt"
        bindings = FETCH["folder_of"](release)
        if not bindings.is_dir():
            pytest.fail(f"TensorRT {release}'s bindings are not in {bindings}: run make setup")
        environment |= {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(bindings)}
    script = Path(__file__).with_name("api_uses.py")
    done = subprocess.run(
        [sys.executable, str(script), backend, *map(str, sources)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
