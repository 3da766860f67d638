"""All that the package uses of TensorRT exists in the releases it supports.

The real bindings load over empty libraries, compiled here, that export the nine symbols
the bindings link to. TensorRT-RTX is whole, and checked as it is.
"""

from __future__ import annotations

import ast
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
PACKAGE = ROOT / "hrvit_deploy"
TENSORRT_ONLY = {"engines/timing_cache.py"}
RTX_ONLY = {"engines/capabilities.py", "runners/rtx.py"}
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


def sources_for(release: str) -> list[Path]:
    """Every source that speaks of ``trt``, but for those of the other backend."""
    foreign = TENSORRT_ONLY if release == RTX else RTX_ONLY
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() not in foreign and speaks_of_trt(path)
    ]


def speaks_of_trt(path: Path) -> bool:
    names = {
        getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    }
    return bool(names & {"trt", "_trt"}) or path.name == "timing_cache.py"


@pytest.mark.parametrize("release", [*VERSIONS, RTX])
def test_all_that_is_used_exists(release: str, stubs: Path) -> None:
    sources = sources_for(release)
    names = {path.relative_to(PACKAGE).as_posix() for path in sources}
    assert {"engines/config.py", "engines/network.py", "runners/tensorrt_.py"} <= names
    report = check(release, stubs, sources)
    assert report["problems"] == []
    assert release == RTX or release.startswith(report["version"])
    # A reader that lost the thread would find nothing wrong.
    assert len(report["uses"]) > 100
    assert {
        "IBuilderConfig.progress_monitor",
        "IExecutionContext.execute_async_v3",
        "ParserError.node_operator",
        "IProgressMonitor.step_complete",
    } <= set(report["uses"])


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16 does not exist"),
        ("trt.IInt8EntropyCalibrator2", "IInt8EntropyCalibrator2 does not exist"),
        ("layer.precision = trt.DataType.HALF", "ILayer.precision does not exist"),
        (
            "1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)",
            "EXPLICIT_BATCH does not",
        ),
    ],
)
def test_what_tensorrt_11_dropped_is_found(
    statement: str, problem: str, stubs: Path, tmp_path: Path
) -> None:
    old, new = (problems(statement, version, stubs, tmp_path) for version in VERSIONS[1:])
    assert not old
    assert len(new) == 1
    assert problem in new[0]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("trt.Frobnicator", "Frobnicator does not exist"),
        ("trt.Builder(None).create_frobnicator()", "Builder.create_frobnicator does not exist"),
        ("self._context.execute_async_v2(3)", "execute_async_v2 does not exist"),
        ("config.set_flag()", "needs 'flag'"),
        ("config.set_flag(trt.BuilderFlag.REFIT, 1)", "takes 1 arguments, 2 are given"),
        ("config.set_flag(trt.DataType.HALF)", "is a BuilderFlag, not a DataType"),
        ("config.set_timing_cache(cache, ignore=True)", "takes no 'ignore'"),
        ("network.num_layers = 3", "INetworkDefinition.num_layers cannot be set"),
        ("trt.OnnxParser(network).parse_from_file('x')", "needs 'logger'"),
        ("network.get_layer(0).kernel", "ILayer.kernel does not exist"),
        ("getattr(trt, name)", "getattr hides"),
    ],
)
def test_what_never_existed_is_found(
    statement: str, problem: str, stubs: Path, tmp_path: Path
) -> None:
    (found,) = problems(statement, NEWEST, stubs, tmp_path)
    assert problem in found


def test_an_override_with_other_arguments_is_found(stubs: Path, tmp_path: Path) -> None:
    source = "class Monitor(trt.IProgressMonitor):\n    def step_complete(self): ..."
    (found,) = problems(source, NEWEST, stubs, tmp_path, indent=False)
    assert "overridden with other arguments" in found


def problems(
    statement: str, release: str, stubs: Path, tmp_path: Path, *, indent: bool = True
) -> list[str]:
    source = tmp_path / "source.py"
    header = "def use(self, trt, config: Any, network, layer, cache):\n    "
    source.write_text(header + statement if indent else statement)
    found: list[str] = check(release, stubs, [source])["problems"]
    return found
