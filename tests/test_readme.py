"""The commands that README.md and docs/ show run, and print what the pages say they print."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docs_commands
import pytest
import readme

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [readme.README, ROOT / "CONTRIBUTING.md", *DOCS]
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
# What these print is of the machine: its libraries, and how its timings sort.
OF_THE_MACHINE = ("doctor",)
# Minutes on b1; tests/cli runs them on a small network.
ELSEWHERE = ("compare", "evaluate", "quantize", "sensitivity")
# Pages whose Python runs beside what their commands wrote.
PROGRAMS = (readme.TUTORIAL, readme.README)
# Options of pip, CMake, pytest and hrvit_infer that pages name.
OTHERS_OPTIONS = {
    *("--abi", "--directory", "--implementation", "--no-deps", "--only-binary"),
    *("--platform", "--python-version", "--target"),
    *("--build", "--install", "--parallel", "--prefix"),
    *("--repeat", "--require-gpu", "--help"),
}
LONGEST_README = 250
# Tests come and go between two runs of the whole suite.
TOLERANCE = 0.1


def labels_of(output: str) -> list[str]:
    """The first word of each line: what a table's rows are called, or ``error:``."""
    lines = (line.split() for line in output.replace("─", "").splitlines())
    return [words[0] for words in lines if words]


def shown() -> Iterator[readme.Shown]:
    """Every command in the order in which they run, each once."""
    found = (block for page in readme.PAGES for block in readme.blocks(TEXTS[page]))
    yield from {block.command: block for block in found}.values()


@pytest.mark.parametrize("page", readme.TABLES, ids=lambda page: page.stem)
def test_pages_hold_what_was_measured(page: Path) -> None:
    assert readme.filled(page) == TEXTS[page], "make readme, or tools/readme.py --tables"


def test_every_page_with_commands_is_renewed() -> None:
    assert {page for page, text in TEXTS.items() if readme.BLOCK.search(text)} == {
        *readme.PAGES
    }
    for page, text in TEXTS.items():
        assert len(readme.BLOCK.findall(text)) == text.count("```console"), page


def test_a_command_shown_twice_prints_the_same() -> None:
    printed: dict[str, str] = {}
    for page in readme.PAGES:
        for command, output in readme.blocks(TEXTS[page]):
            assert printed.setdefault(command, output) == output, command


@pytest.mark.slow
def test_every_command_prints_what_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme.prepare(tmp_path)
    assert len(list(shown())) > 10
    for command, expected in shown():
        assert expected, f"make readme has not run {command}"
        if command.split()[1] in ELSEWHERE:
            continue
        printed = readme.run(command, tmp_path)
        if command.split()[1] not in OF_THE_MACHINE:
            missing = set(labels_of(expected)) - set(labels_of(printed))
            assert not {word for word in missing if word.isalpha()}, command
            assert printed.startswith("error:") == expected.startswith("error:"), command
    monkeypatch.chdir(tmp_path)
    run_programs()


def run_programs() -> None:
    """Run the Python of the pages, beside a photograph and the graphs they speak of."""
    from PIL import Image

    from hrvit_deploy.images import photographs

    Image.fromarray(photographs()[0].pixels).save("china.jpg")
    found: dict[str, object] = {}
    for page in PROGRAMS:
        (code,) = re.findall(r"```python\n(.*?)```", TEXTS[page], re.DOTALL)
        exec(code, found)
    assert getattr(found["probabilities"], "shape", None) == (1000,)
    assert getattr(found["labels"], "shape", None) == (256, 256)
    (predicted,) = (block for block in shown() if " predict " in block.command)
    assert isinstance(found["found"], set)
    assert found["found"]
    assert all(str(name) in predicted.output for name in found["found"])


def test_make_run_runs_the_commands_shown() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nrun: setup\n")[2].partition("\n\n")[0]
    named = dict(re.findall(r"^(\w+) := (.*)$", makefile, re.MULTILINE))
    for name in ("DATA", "CHECKPOINT"):
        recipe = recipe.replace(f"$({name})", named[name])
    commands = re.findall(r"\$\(BIN\)/(hrvit-deploy .*)", recipe)
    assert [command.split()[1] for command in commands] == ["run", "build-trt", "compare"]
    tutorial = [block.command for block in readme.blocks(TEXTS[readme.TUTORIAL])]
    assert tutorial[:3] == commands
    # Which ends like this, the README says.
    assert [block.command for block in readme.blocks(TEXTS[readme.README])] == commands[-1:]


@pytest.mark.slow
def test_the_readme_counts_the_tests_that_there_are() -> None:
    ending = re.search(rf"\$ {readme.SUITE}\n(?P<line>.*)\n```", TEXTS[readme.README])
    if ending is None:
        pytest.skip("tools/readme.py --suite has not run")
    assert "failed" not in ending["line"]
    told = sum(map(int, re.findall(r"(\d+) (?:passed|skipped)", ending["line"])))
    options = ["--collect-only", "--quiet", "--numprocesses", "0"]
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (count,) = re.findall(r"^(\d+) tests? collected", done.stdout, re.MULTILINE)
    assert abs(told - int(count)) < TOLERANCE * int(count)


def test_the_readme_is_short_and_lists_every_command() -> None:
    text = TEXTS[readme.README]
    assert len(text.splitlines()) <= LONGEST_README
    assert text.count("![") == 1
    table = text.partition("<!-- commands:begin -->")[2].partition("<!-- commands:end -->")[0]
    listed = re.findall(r"^\|.*?\| `([\w-]+)` \||^\| `([\w-]+)` \|", table, re.MULTILINE)
    names = [command.name for command in docs_commands.read_commands()]
    assert sorted(first or second for first, second in listed) == sorted(names)
    assert len(names) == len(set(names)) > 10


def test_the_readme_says_how_completion_is_had() -> None:
    assert "hrvit-deploy --install-completion" in TEXTS[readme.README]
    assert "--install-completion" in docs_commands.options_of(docs_commands.read_program())


def test_every_command_has_json_as_the_readme_says() -> None:
    assert "Every command has `--json`" in TEXTS[readme.README]
    for command in docs_commands.read_commands():
        assert "--json" in docs_commands.options_of(command), command.name


def test_every_extra_named_exists() -> None:
    extras = importlib.metadata.metadata("hrvit-deploy").get_all("Provides-Extra") or []
    text = "\n".join(TEXTS.values())
    named = re.findall(r"'hrvit-deploy\[([\w,]+)\]'", text)
    named += re.findall(r"'\.\[([\w,]+)\]'", text)
    assert len(named) > 10
    assert {extra for group in named for extra in group.split(",")} <= set(extras)


def scripts_options() -> set[str]:
    """Every option that a benchmark, an example, a tool or hrvit_infer reads."""
    folders = ("benchmarks", "examples", "tools")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    return set(re.findall(r'"(--[a-z][\w-]*)"', found))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.stem)
def test_every_option_named_exists(page: Path) -> None:
    commands = (*docs_commands.read_commands(), docs_commands.read_program())
    known = set[str]().union(*map(docs_commands.options_of, commands))
    assert {"--int8", "--no-timing-cache"} <= known
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", TEXTS[page]))
    assert named - known - OTHERS_OPTIONS - scripts_options() == set()


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.stem)
def test_commands_are_given_options_of_their_own(page: Path) -> None:
    known = {
        command.name: docs_commands.options_of(command)
        for command in docs_commands.read_commands()
    }
    fences = re.findall(r"^```.*?^```", TEXTS[page], re.DOTALL | re.MULTILINE)
    codes = [line.removeprefix("$ ") for fence in fences for line in fence.splitlines()]
    codes += re.findall(r"`([^`\n]+)`", TEXTS[page])
    calls = re.findall(r"^hrvit-deploy ([a-z][\w-]*)([^#\n]*)", "\n".join(codes), re.MULTILINE)
    for name, rest in calls:
        assert name in known
        assert set(re.findall(r"(?<!\S)--[a-z][\w-]*", rest)) <= known[name], (name, rest)


def test_links_lead_somewhere() -> None:
    folders = ("calib", "cpp", "engines", "examples", "export", "tests")
    others = (path for folder in folders for path in (ROOT / folder).rglob("README.md"))
    for page in (*DOCUMENTS, *others):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_files_that_contributing_names_exist() -> None:
    text = TEXTS[ROOT / "CONTRIBUTING.md"]
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:\w+\.py)?|\w+\.py)`", text))
    assert {"runners/spec.py", "tests/support/"} <= named
    for name in named:
        places = [ROOT / name, ROOT / "hrvit_deploy" / name, ROOT / "docs" / name]
        assert any(place.exists() for place in places), name
    tree = text.partition("    hrvit_deploy/\n")[2].partition("\n\n")[0]
    drawn = re.findall(r"^      (\w+)/ ", tree, re.MULTILINE)
    held = (path.parent.name for path in (ROOT / "hrvit_deploy").glob("*/__init__.py"))
    assert sorted(drawn) == sorted(held)


def test_documents_that_files_speak_of_exist() -> None:
    # Those of perf_analyzer and of onnx-tensorrt lie in repositories of their own.
    foreign = {"docs/input_data.md", "docs/operators.md"}
    spoken: dict[str, Path] = {}
    for folder in (
        "benchmarks",
        "calib",
        "cpp",
        "engines",
        "examples",
        "export",
        "hrvit_deploy",
    ):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".hpp", ".cpp", ".txt"):
                text = path.read_text(encoding="utf-8")
                spoken |= dict.fromkeys(re.findall(r"docs/[a-z0-9/_-]+\.md", text), path)
    assert len(spoken) > 5
    missing = {name: path for name, path in spoken.items() if not (ROOT / name).exists()}
    assert set(missing) <= foreign, missing


def test_a_foreign_command_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rm"):
        readme.run("rm -r anything", tmp_path)


def test_labels_are_the_first_words() -> None:
    assert labels_of("nodes   2,750\n\n  ──────\nerror: 360x640") == ["nodes", "error:"]


def test_the_suite_is_no_command_of_the_program() -> None:
    text = readme.block_of(readme.SUITE, "2 passed\n") + readme.block_of(
        "hrvit-deploy x", "y\n"
    )
    assert list(readme.blocks(text)) == [("hrvit-deploy x", "y\n")]
