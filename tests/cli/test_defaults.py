"""Defaults of a project: the command line first, then the environment, then the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import Run

FILE = "hrvit-deploy.toml"


def task_of(run: Run, *arguments: str) -> str:
    ran = run("inspect", "b1", "--json", *arguments)
    assert ran.code == 0, ran.err
    return str(ran.json["network"]["task"])


def test_the_command_line_comes_first(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert task_of(run) == "classify"
    (folder / FILE).write_text('[inspect]\ntask = "segment"\nsize = 64\nnum-classes = 7\n')
    assert task_of(run) == "segment"
    assert run("inspect", "b1", "--json").json["network"]["num_classes"] == 7
    monkeypatch.setenv("HRVIT_DEPLOY_INSPECT_TASK", "classify")
    assert task_of(run) == "classify"
    assert task_of(run, "--task", "segment") == "segment"


def test_lists_and_flags_have_defaults_too(run: Run, folder: Path) -> None:
    (folder / FILE).write_text('[export]\nhalf-io = true\nwithout = ["fold-scales"]\n')
    ran = run("export")
    assert ran.code == 2
    assert "half" in ran.err
    (folder / FILE).write_text('[export]\nwithout = ["fold-scales"]\nsamples = 1\n')
    assert "did you mean fold-scale?" in run("export").err
    (folder / FILE).write_text("[export]\nhalf-io = true\n")
    assert "half" in run("export").err


@pytest.mark.parametrize(
    ("text", "says", "mend"),
    [
        ("[exprot]\nsize = 64", "[exprot] is no command", "did you mean export?"),
        ("[export]\nsice = 64", "[export] has no option 'sice'", "did you mean size?"),
        ("[export]\njson = true", "[export] has no option 'json'", ""),
        ("size = 64", "[size] is no command", ""),
        ("[export", "cannot read hrvit-deploy.toml", "correct or remove the file"),
        ("\xff\xfe", "cannot read hrvit-deploy.toml", "correct or remove the file"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_line(
    run: Run, folder: Path, text: str, says: str, mend: str
) -> None:
    (folder / FILE).write_bytes(text.encode("latin-1"))
    ran = run("inspect", "b1")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert says in ran.err
    assert mend in ran.err


def test_a_value_that_does_not_fit_names_the_file(run: Run, folder: Path) -> None:
    (folder / FILE).write_text('[inspect]\ntask = "decide"\n')
    ran = run("inspect", "b1")
    assert ran.code == 2
    assert "'decide' is not one of" in ran.err
    assert FILE in ran.err
