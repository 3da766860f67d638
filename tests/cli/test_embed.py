"""``embed`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import small_artefacts
from support.command_line import Run


def test_the_newest_graph_becomes_a_triton_repository(run: Run, folder: Path) -> None:
    (folder / "export").mkdir()
    graph = small_artefacts.artefact(folder / "export").path

    ran = run("embed", "--as", "triton")

    assert ran.code == 0, ran.err
    assert "taking the newest graph" in ran.err
    folder = Path("embedded") / f"{graph.stem}-triton"
    assert f"{folder}/" in ran.out
    assert f"cd {folder}\n" in ran.out
    for line in ("docker build", "tritonserver --model-repository", "perf_analyzer"):
        assert line in ran.out
    # To be copied: no line is broken or cut.
    assert any(len(line) > 150 for line in ran.out.splitlines())
    assert (folder / "models" / graph.stem / "config.pbtxt").is_file()


def test_one_object_tells_what_was_made(run: Run, folder: Path) -> None:
    path = str(small_artefacts.artefact(folder).path)
    options = ("--max-batch", "4", "--instances", "2", "--threads", "1", "--delay-us", "500")
    ran = run("embed", path, "--as", "triton", "--out", "served", *options, "--json")

    assert ran.code == 0, ran.err
    assert {key: ran.json[key] for key in ("artefact", "folder", "as")} == {
        "artefact": path,
        "folder": "served",
        "as": "triton",
    }
    assert ran.json["commands"][0] == "cd served"
    config = Path("served/models/small/config.pbtxt").read_text()
    for line in ("max_batch_size: 4", "count: 2", "max_queue_delay_microseconds: 500"):
        assert line in config


@pytest.mark.parametrize(
    ("form", "last"), [("cpp", "cmake --install build"), ("python", "-m hrvit_app photo.jpg")]
)
def test_folders_are_told_with_the_commands_in_them(
    run: Run, folder: Path, form: str, last: str
) -> None:
    path = str(small_artefacts.artefact(folder).path)
    made = run("embed", path, "--as", form, "--json")
    spoken = run("embed", path, "--as", form, "--out", "again")

    assert made.code == spoken.code == 0, made.err
    within, *commands = made.json["commands"]
    assert within == f"cd embedded/small-{form}"
    assert last in commands[-1]
    readme = (folder / "again" / "README.md").read_text()
    for command in commands:
        assert command in readme
        assert f"  {command}\n" in spoken.out


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        ((), 2, "--as"),
        (("--as", "docker"), 2, "docker"),
        (("--as", "cpp", "--instances", "2"), 2, "--instances"),
        (("--as", "python", "--triton-backend", "openvino"), 2, "--triton-backend"),
        (("--as", "triton", "--triton-backend", "tensorrt"), 2, "tensorrt"),
        (("--as", "triton", "--max-batch", "-1"), 2, "max-batch"),
        (("--as", "triton", "--triton-release", "latest"), 2, "latest"),
        (("--as", "triton", "--out", "taken"), 1, "taken is there already"),
        (("--as", "triton", "--out", "taken/mine/deep"), 1, "taken/mine"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    run: Run, folder: Path, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    path = str(small_artefacts.artefact(folder).path)
    (folder / "taken").mkdir()
    (folder / "taken" / "mine").touch()

    ran = run("embed", path, *arguments, "--json")

    assert ran.code == code
    assert problem in ran.json["error"]
    assert ran.json["hint"]
    assert not (folder / "embedded").exists()


def test_without_an_artefact_it_says_what_to_run(run: Run) -> None:
    ran = run("embed", "--as", "triton")
    assert ran.code == 1
    assert "hrvit-deploy export" in ran.err
