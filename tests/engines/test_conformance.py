"""All that the package uses of TensorRT exists in the releases it supports.

The real bindings load over empty libraries, compiled here, that export the nine symbols
the bindings link to. TensorRT-RTX is whole, and checked as it is.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support.tensorrt_releases import NEWEST, RTX, VERSIONS, check

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hrvit_deploy"
TENSORRT_ONLY = {"engines/timing_cache.py"}
RTX_ONLY = {"engines/capabilities.py", "runners/tensorrt/rtx.py"}


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
    assert {"engines/config.py", "engines/network.py", "runners/tensorrt/runner.py"} <= names
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
