"""The README's commands run, and print what it says they print."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import readme  # noqa: E402

TEXT = readme.README.read_text(encoding="utf-8")
# What these print is of the machine: its libraries, and how its timings sort.
OF_THE_MACHINE = ("doctor",)
# Minutes on b1; tests/cli runs them on a small network.
ELSEWHERE = ("compare", "evaluate", "quantize", "sensitivity")


def labels_of(output: str) -> list[str]:
    """The first word of each line: what a table's rows are called, or ``error:``."""
    lines = (line.split() for line in output.replace("─", "").splitlines())
    return [words[0] for words in lines if words]


def test_the_documents_hold_what_was_measured() -> None:
    text = readme.GATES.read_text(encoding="utf-8")
    filled = readme.fill(text, "gates", readme.gates_table())
    filled = readme.fill(filled, "quality", readme.quality_table())
    assert readme.fill(filled, "parity", readme.parity_table()) == text
    assert readme.fill(TEXT, "int8", readme.int8_table()) == TEXT


@pytest.mark.slow
def test_every_command_prints_what_the_readme_says(tmp_path: Path) -> None:
    readme.prepare(tmp_path)
    shown = list(readme.blocks(TEXT))
    assert len(shown) > 10
    for command, expected in shown:
        assert expected, f"make readme has not run {command}"
        if command.split()[1] in ELSEWHERE:
            continue
        printed = readme.run(command, tmp_path)
        if command.split()[1] not in OF_THE_MACHINE:
            missing = set(labels_of(expected)) - set(labels_of(printed))
            assert not {word for word in missing if word.isalpha()}, command
            assert printed.startswith("error:") == expected.startswith("error:"), command
        run_python(tmp_path) if " bench " in command else None


def run_python(folder: Path) -> None:
    """The README's Python, beside the photograph and the graph it speaks of."""
    from PIL import Image

    from hrvit_deploy.images import photographs

    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    Image.fromarray(photographs()[0].pixels).save(folder / "china.jpg")
    found: dict[str, object] = {}
    code = code.replace('Path("', f'Path("{folder}/')
    exec(code, found)
    assert getattr(found["probabilities"], "shape", None) == (1000,)


def test_make_run_runs_the_commands_shown() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nrun: setup\n")[2].partition("\n\n")[0]
    named = dict(re.findall(r"^(\w+) := (.*)$", makefile, re.MULTILINE))
    for name in ("DATA", "CHECKPOINT"):
        recipe = recipe.replace(f"$({name})", named[name])
    commands = re.findall(r"\$\(BIN\)/(hrvit-deploy .*)", recipe)
    assert [command.split()[1] for command in commands] == ["run", "build-trt", "compare"]
    assert [shown.command for shown in readme.blocks(TEXT)][:3] == commands


def test_every_extra_named_exists() -> None:
    extras = importlib.metadata.metadata("hrvit-deploy").get_all("Provides-Extra") or []
    named = re.findall(r"'hrvit-deploy\[([\w,]+)\]'", TEXT)
    assert named
    assert {extra for group in named for extra in group.split(",")} <= set(extras)


def test_every_command_line_option_named_exists() -> None:
    from typer.main import get_command

    from hrvit_deploy.cli.app import app

    commands = getattr(get_command(app), "commands")  # noqa: B009
    known = {
        option
        for command in commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    elsewhere = {"--require-gpu", "--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", TEXT))
    assert named
    assert named - known - elsewhere == set()


def test_links_lead_somewhere() -> None:
    for document in (readme.README, *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_a_foreign_command_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rm"):
        readme.run("rm -r anything", tmp_path)


def test_labels_are_the_first_words() -> None:
    assert labels_of("nodes   2,750\n\n  ──────\nerror: 360x640") == ["nodes", "error:"]
