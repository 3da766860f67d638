"""Starting up is quick, because nothing heavy is loaded before it is needed."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "onnxsim",
    "openvino",
    "tensorrt",
    "tensorrt_rtx_bindings",
}
LISTED = "import json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
HELP = """
import sys
sys.argv = ["hrvit-deploy", {argument!r}]
from hrvit_deploy.cli import main
try:
    main()
except SystemExit:
    pass
"""


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LISTED}"], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "code",
    ["import hrvit_deploy", HELP.format(argument="--help"), HELP.format(argument="export")],
    ids=["import", "help", "commands"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    if "'export'" in code:
        code = code.replace('"hrvit-deploy", ', '"hrvit-deploy", "--version", ')
    assert not loaded_by(code) & HEAVY


def test_the_check_sees_what_is_loaded() -> None:
    assert "onnx" in loaded_by("import onnx")


@pytest.mark.parametrize(
    "arguments", [("-c", "import hrvit_deploy"), ("-m", "hrvit_deploy", "-h")]
)
def test_it_takes_under_half_a_second(arguments: tuple[str, ...]) -> None:
    # Processor time of the best of five: a busy machine says nothing about the code.
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
