"""Help says all there is to know, in groups, and shows nothing that would be refused."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from support.command_line import Run
from typer.core import TyperCommand, TyperGroup, TyperOption

from hrvit_deploy.cli.app import app

PROGRAM = typer.main.get_command(app)
assert isinstance(PROGRAM, TyperGroup)
COMMANDS: dict[str, Any] = dict(PROGRAM.commands)
GROUPS = {
    "Make": ["run", "export", "adopt", "calibrate", "quantize", "build-trt"],
    "Measure": ["verify", "bench", "evaluate", "compare", "sensitivity"],
    "Use": ["predict", "embed", "inspect", "doctor"],
}


def test_commands_stand_in_groups_with_whole_summaries(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run("--help").out
    assert not re.search(r"\w\.\.\.", text)
    sections = re.split(r"^(\w+):$", text, flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    for group, names in GROUPS.items():
        assert re.findall(r"^  ([a-z-]+)  ", found[group], re.MULTILINE) == names
    folded = " ".join(text.split())
    for command in COMMANDS.values():
        assert command.help.partition("\n\n")[0].replace("\n", " ") in folded


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_ends_with_an_example_that_parses(run: Run, name: str) -> None:
    text = run(name, "--help").out
    example = text.rstrip().splitlines()[-1].strip()
    program, command, *arguments = shlex.split(example)
    assert (program, command) == ("hrvit-deploy", name)
    COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_and_its_default(run: Run, name: str) -> None:
    text = " ".join(run(name, "--help").out.split())
    for param in COMMANDS[name].params:
        assert param.help, param.name
        assert param.help.rstrip().endswith("."), param.name
        assert "likewise" not in param.help.lower()
        assert " ".join(param.help.split()) in text, param.name
        if isinstance(param, TyperOption) and not param.required and not param.is_flag:
            told = isinstance(param.show_default, str) or param.default not in (None, "")
            assert told or param.name == "help", param.name


@pytest.mark.parametrize(("command", "option"), [("export", "--precision")])
def test_choices_are_shown_only_where_they_are_taken(
    run: Run, command: str, option: str
) -> None:
    text = run(command, "--help").out
    assert f"{option} <fp32|fp16|bf16>" in text
    ran = run(command, option, "int8")
    assert ran.code == 2
    assert "'int8' is not one of 'fp32', 'fp16', 'bf16'" in ran.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(run: Run, name: str) -> None:
    text = run(name, "--help").out
    assert "--quiet" in text
    assert "--verbose" in text
    assert isinstance(COMMANDS[name], TyperCommand)


def test_quiet_leaves_notes_out_and_verbose_says_where_an_error_arose(run: Run) -> None:
    assert run("inspect", "gone.onnx", "--quiet").err.startswith("error: there is no")
    ran = run("inspect", "gone.onnx", "--verbose")
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("error: there is no")
    # Not of the run before.
    assert "Traceback" not in run("inspect", "gone.onnx").err
    assert "Traceback" in run("--verbose", "inspect", "gone.onnx").err
