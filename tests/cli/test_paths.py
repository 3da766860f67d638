"""Paths as people give them, in places that cannot be written and names that are no text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import labelled, small_artefacts
from support.command_line import Run

from hrvit_deploy.cli.app import app
from hrvit_deploy.outputs import make_folder

COMMANDS = tuple(command.name for command in app.registered_commands)


@pytest.fixture
def small(folder: Path) -> str:
    return str(small_artefacts.artefact(folder).path)


def test_home_is_found_in_options_variables_and_the_file(
    run: Run, folder: Path, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert run("embed", small, "--as=python", "--out=~/a").code == 0
    monkeypatch.setenv("HRVIT_DEPLOY_EMBED_OUT", "~/b")
    assert run("embed", small, "--as=python").code == 0
    monkeypatch.delenv("HRVIT_DEPLOY_EMBED_OUT")
    (folder / "hrvit-deploy.toml").write_text('[embed]\nout = "~/c"\nas = "python"\n')
    assert run("embed", small).code == 0
    assert sorted(path.name for path in home.iterdir()) == ["a", "b", "c"]
    assert not (folder / "~").exists()
    (home / "names.txt").write_text("cat\ndog\nemu\n")
    labelled.save(home / "a.png", labelled.picture(0, 40, 50))
    ran = run("predict", small, "~/a.png", "--classes=~/names.txt", "--json")
    assert {one["class"] for one in ran.json["predictions"][0]["top5"]} == {"cat", "dog", "emu"}


def test_the_verdict_is_shown_where_it_cannot_be_noted(
    run: Run, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder mounted read-only, whose files root cannot remove either."""
    before = graph.with_suffix(".json").read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        for name in ("write_bytes", "replace", "unlink"):
            patched.setattr(Path, name, refuse)
        ran = run("verify", str(graph), "--samples", "1")
        failed = run("verify", str(graph), "--samples", "1", "--max-error", "0")
    assert ran.code == 0, ran.err
    assert "agreement" in ran.out
    assert "Read-only file system; what was measured is not noted there" in ran.err
    assert failed.code == 1
    assert "FAILED" in failed.out
    assert graph.with_suffix(".json").read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--variant", "b1"),
        ("calibrate", "{graph}"),
        ("quantize", "{graph}"),
        ("build-trt", "{graph}"),
        ("sensitivity", "{graph}"),
        ("evaluate", "{graph}", "--data", "data"),
        ("compare", "{graph}"),
        ("predict", "{graph}", "data/images"),
        ("embed", "{graph}", "--as", "cpp"),
    ],
)
def test_where_nothing_can_be_written_is_found_before_the_work(
    run: Run, graph: Path, folder: Path, command: tuple[str, ...]
) -> None:
    labelled.ade20k(folder / "data")
    (folder / "taken").touch()
    before = sorted(folder.rglob("*"))
    ran = run(*(word.format(graph=graph) for word in command), "--out", "taken/out")
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("error: cannot write to taken/out: ")
    assert "ing" not in ran.err.split("error:")[0], "work was begun"
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "{graph}", "--data", "data", "--out", "full"),
        ("evaluate", "{graph}", "--data", "data", "--out", "full", "--json"),
        ("bench", "{graph}", "--rounds", "1", "--runs", "1", "--out", "full"),
    ],
)
def test_figures_are_shown_where_their_file_cannot_be_written(
    run: Run,
    graph: Path,
    folder: Path,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labelled.ade20k(folder / "data")

    def full(folder: Path) -> None:
        if folder.name == "full":
            raise OSError(28, "No space left on device")
        make_folder(folder)

    monkeypatch.setattr("hrvit_deploy.staging.make_folder", full)
    ran = run(*(word.format(graph=graph) for word in command))
    assert ran.code == 1
    assert "warning: cannot write to full: No space left on device; make room" in ran.err
    assert "Traceback" not in ran.err
    if "--json" in command:
        assert ran.json["saved"] is None
    else:
        assert any(word in ran.out for word in ("mIoU", "p50"))


def test_a_name_that_a_runtime_cannot_take_is_one_line(
    run: Run, folder: Path, small: str
) -> None:
    odd = folder / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    for suffix in (".onnx", ".json"):
        Path(small).with_suffix(suffix).rename(odd / f"small{suffix}")
    labelled.save(folder / "a.png", labelled.picture(0, 40, 50))
    ran = run("predict", str(odd / "small.onnx"), "a.png")
    assert ran.code in (0, 1)
    assert len(ran.err.splitlines()) <= 2
    assert "Traceback" not in ran.err


def test_an_odd_answer_of_the_system_is_one_line(
    run: Run, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "/some/where")

    monkeypatch.setattr("hrvit_deploy.artefact.sha256_of", refuse)
    ran = run("inspect", small)
    assert ran.code == 1
    assert ran.err.startswith("error: /some/where: Input/output error; ")
    assert ran.err.count("\n") == 1


def test_a_foreign_json_beside_a_graph_is_passed_over(
    run: Run, graph: Path, folder: Path
) -> None:
    for name, text in (("other", '{"model": "yolo"}'), ("list", "[1]"), ("torn", '{"a"')):
        (folder / "export" / f"{name}.onnx").write_bytes(b"onnx")
        (folder / "export" / f"{name}.json").write_text(text)
    ran = run("verify", "--samples", "1")
    assert ran.code == 0, ran.err
    assert ran.err.count("is passed over: ") == 3
    assert f"taking the newest graph, {graph}" in ran.err


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"COLUMNS": "20"},
    ],
)
def test_names_that_are_no_text_are_escaped(
    folder: Path, small: str, environment: dict[str, str]
) -> None:
    pictures = folder / "pics"
    labelled.save(pictures / "ok.png", labelled.picture(0, 40, 50))
    (pictures / "ok.png").rename(pictures / os.fsdecode(b"caf\xe9.png"))
    (pictures / os.fsdecode("日本.png".encode())).write_bytes(b"no image")
    (pictures / os.fsdecode(b"b\xff.heic")).touch()
    (folder / "names.txt").write_text("背景\nπεζός\nx\n", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "hrvit_deploy", "predict", small, "pics", "--classes=names.txt"],
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert b"Traceback" not in ran.stderr
    assert b"passed over" in ran.stderr
    whole = ran.stdout.replace(b"\n", b"").replace(b" ", b"")
    assert b"\\udce9" in whole


def test_graphs_are_written_to_folders_whose_name_is_text(run: Run, folder: Path) -> None:
    """PyTorch's exporter takes no other, and says so in thousands of lines."""
    ran = run("export", "--variant", "b1", "--out", os.fsdecode(b"caf\xe9/deep"))
    assert ran.code == 1
    assert ran.err == (
        r"error: cannot write a graph to caf\udce9/deep: its name is not UTF-8;"
        " rename the folder\n"
    )
    assert not list(folder.iterdir())


@pytest.mark.parametrize("form", ["python", "triton"])
def test_embedded_folders_may_have_any_name(
    run: Run, folder: Path, small: str, form: str
) -> None:
    place = os.fsdecode(b"caf\xe9")
    ran = run("embed", small, "--as", form, "--out", place)
    assert ran.code == 0, ran.err
    assert (folder / place / "README.md").is_file()


def test_json_holds_names_that_are_no_text(run: Run, folder: Path, small: str) -> None:
    labelled.save(folder / "ok.png", labelled.picture(0, 40, 50))
    (folder / "ok.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    ran = run("predict", small, os.fsdecode(b"caf\xe9.png"), "--json")
    assert ran.code == 0, ran.err
    assert ran.json["predictions"][0]["image"] == r"caf\udce9.png"


def test_names_do_not_reach_into_the_terminal(run: Run, folder: Path, small: str) -> None:
    name = "a\x1b[2Jb.png"
    labelled.save(folder / name, labelled.picture(0, 40, 50))
    (folder / "names.txt").write_text("cat\x1b[31m\ndog\nemu\n")
    ran = run("predict", small, name, "gone\x1b]0;x.png", "--classes", "names.txt")
    assert ran.code == 1
    assert "\x1b" not in ran.out + ran.err
    assert r"a\x1b[2Jb.png" in ran.out
    assert r"cat\x1b[31m" in ran.out
    assert r"gone\x1b]0;x.png" in ran.err


def test_names_that_no_font_can_write_are_told_of_once(
    run: Run, graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = "hrvit_deploy.inference.predict.lacking"
    monkeypatch.setattr(lacking, lambda names: [name for name in names if "背" in name])
    for name in ("a", "b"):
        labelled.save(folder / f"{name}.png", labelled.picture(0, 40, 50))
    (folder / "names.txt").write_text("背景\nx\ny\nz\nw\n", encoding="utf-8")
    ran = run("predict", str(graph), "a.png", "b.png", "--classes", "names.txt")
    assert ran.code == 0, ran.err
    assert ran.err.count("no font here has the characters of 1 of 5 class names") == 1


def test_without_docstrings_all_commands_say_the_same() -> None:
    """``python -OO`` drops them, and container images ask for it."""
    program = (
        "import sys; from hrvit_deploy.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    sys.argv = ['hrvit-deploy', *command.split()]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert stop.code == 0, command\n"
    )
    commands = ("--help", "inspect b1", *(f"{name} --help" for name in COMMANDS))
    said = [
        subprocess.run(
            [sys.executable, "-c", program, *commands],
            env=os.environ | {"PYTHONOPTIMIZE": level},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for level in ("0", "2")
    ]
    assert said[0] == said[1]
    assert "Measure the range of every activation" in said[1]


def test_without_assertions_and_docstrings_a_folder_is_embedded(
    folder: Path, small: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-OO", "-m", "hrvit_deploy", "embed", small, "--as=triton", "--out=t"],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert (folder / "t" / "README.md").is_file()
