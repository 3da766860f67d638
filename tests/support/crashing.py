"""Commands stopped before every call that changes a folder, and what they leave then.

A preloaded library (``tests/crash/interposer.c``) copies the folder before each such call:
that is just what a kill at that moment leaves, so that one run shows the state after every
kill. It also lets one call after another fail, as a full disk does.

Run as a script, it tries every command and prints the figures as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from PIL import Image

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.cli import main
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.staging import private_folder, settle_all
from hrvit_deploy.verdict import verdict_of
from support import labelled
from support.command_line import TINY

SOURCE = Path(__file__).parents[1] / "crash" / "interposer.c"
NAME = "hrvit-tiny-segment-64x96"
VARIANT = ("--variant", str(TINY), "--task", "segment", "--num-classes", "5")
EXPORT = ("export", *VARIANT, "--size", "64x96", "--samples", "2")
FP16 = ("--precision", "fp16")
PREDICT = ("predict", f"export/{NAME}.onnx", "calib/images", "--out", "predictions")
SHORT = ("--rounds", "1", "--runs", "1")
RTX = ("--backend", "tensorrt-rtx")
# Run twice: what the first wrote, the second replaces.
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "export": (EXPORT, (*EXPORT, "--seed", "1")),
    "export fp16": ((*EXPORT, *FP16), (*EXPORT, *FP16, "--seed", "1")),
    "calibrate": (("calibrate",), ("calibrate", "--method", "minmax")),
    "quantize": (
        ("quantize", "--accept-parity"),
        ("quantize", "--accept-parity", "--without", "dense"),
    ),
    "build-trt": (("build-trt", "--fp32", *RTX), ("build-trt", "--fp32", *RTX, "--refit")),
    "sensitivity": (("sensitivity", "--samples", "1"), ("sensitivity", "--samples", "2")),
    "embed": ((), ("embed", "--as", "python", "--out", "embedded")),
    "embed in place": ((), ("embed", "--as", "triton", "--out", "empty")),
    "evaluate": (
        ("evaluate", "--data", "data", "--samples", "1"),
        ("evaluate", "--data", "data"),
    ),
    "predict": (PREDICT, (*PREDICT, "--opacity", "0.2")),
    "bench": (("bench", *SHORT), ("bench", *SHORT)),
    "compare": (("compare", *SHORT), ("compare", *SHORT)),
}
# Counts that a command goes on from: any whole state of them will do.
RESUMED = (".state", ".ranking")


def unable() -> str:
    """Say what is missing to preload a library here; empty if nothing."""
    if sys.platform != "linux":
        return "preloading a library is tried on Linux"
    return "" if shutil.which("cc") else "there is no C compiler: apt-get install gcc"


def build(folder: Path) -> Path:
    """Compile the library."""
    library = folder / "interposer.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


def call(*arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; return its code and what it printed."""
    out, err = StringIO(), StringIO()
    before = sys.argv
    sys.argv = ["hrvit-deploy", *arguments]
    code: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before
    return int(code or 0), out.getvalue(), err.getvalue()


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def prepare(folder: Path, command: str) -> None:
    """Fill a folder with what a command needs, and with what it wrote the first time."""
    folder.mkdir()
    with inside(folder):
        images = Path("calib/images")
        images.mkdir(parents=True)
        Path("empty").mkdir()
        for index in range(4):
            labelled.save(images / f"{index}.png", labelled.picture(index, 64, 96))
        labelled.ade20k(Path("data"))
        first, _ = COMMANDS[command]
        for words in ((), first) if first[:1] == ("export",) else (EXPORT, first):
            if words:
                code, _, err = call(*words)
                assert code == 0, err


def tree(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def parts_of(name: str) -> str:
    """Return what a file stands or falls with: its artefact, or the folder it is in."""
    first = name.partition("/")[0]
    if first in ("embedded", "empty"):
        return first
    path = Path(name)
    return str(path.with_suffix("")).removesuffix(".onnx")


def violations(
    folder: Path, old: dict[str, str], new: dict[str, str] | None = None
) -> list[str]:
    """Say what is wrong with a folder in which a command was stopped.

    Each artefact must be the old one or the new one, whole, open and with a verdict; what
    goes together must be of one time; and nothing may be left that the next run does not clear.

    Args:
        folder: What is looked at.
        old: Hashes of what was there before, by path.
        new: Of what is there when the command ends well; None where that is not known, and
            whole files will do.
    """
    wrong = []
    for place in ("export", "engines", "calib", "bench", "predictions"):
        if (folder / place).is_dir():
            settle_all(folder / place)
    if (folder / "empty").is_dir():
        settle_all(folder / "empty")
    for path in [*folder.glob("export/*.onnx"), *folder.glob("engines/*.plan")]:
        try:
            verdict = verdict_of(open_artefact(path).manifest)
        except HrvitDeployError as error:
            wrong.append(f"{path.name} does not open: {error.message}")
            continue
        if not verdict.usable:
            wrong.append(f"{path.name} is refused: {verdict}")
    clear(folder)
    if new is None:
        return wrong + [
            f"{name} is not whole"
            for name, value in tree(folder).items()
            if value != old.get(name) and not is_whole(folder / name)
        ]
    return wrong + _mixed(tree(folder), old, new)


def _mixed(found: dict[str, str], old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Say what is neither old nor new, and what goes together and is of two times."""
    wrong = []
    groups: dict[str, set[str]] = {}
    for name in {*found, *old, *new}:
        if name.endswith(RESUMED) or name.startswith("data/"):
            continue
        value, before, after = found.get(name), old.get(name), new.get(name)
        if value not in (before, after):
            wrong.append(f"{name} is neither what it was nor what it becomes")
        elif before != after:
            groups.setdefault(parts_of(name), set()).add("new" if value == after else "old")
    return wrong + [
        f"{part} is half old and half new" for part, of in groups.items() if len(of) > 1
    ]


def is_whole(path: Path) -> bool:
    """Return whether a file holds all that one of its kind does, as far as that can be told."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
    except (ValueError, OSError):
        return False
    return True


def clear(folder: Path) -> None:
    """Remove what a killed process left, as the next that writes the same name does."""
    for place in [folder, *(path for path in folder.iterdir() if path.is_dir())]:
        for hidden in place.glob(".*-????????"):
            stem = hidden.name[1:-9]
            with private_folder(place, stem):
                pass


@dataclass
class Figures:
    """What trying one command gave.

    Attributes:
        points: Calls that change a folder.
        states: Different states that a kill leaves.
        failures: Runs in which one of the calls failed.
        violations: What was wrong, where.
    """

    points: int = 0
    states: int = 0
    failures: int = 0
    violations: list[str] = field(default_factory=list)


def killed(command: str, prepared: Path, work: Path, library: Path, figures: Figures) -> int:
    """Run a command once, and look at what a kill before each call would leave."""
    root, copies = work / "root", work / "copies"
    shutil.rmtree(work, ignore_errors=True)
    copies.mkdir(parents=True)
    shutil.copytree(prepared, root)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "CRASH_ROOT": f"{root}/",
        "CRASH_COPIES": str(copies),
    }
    words = COMMANDS[command][1]
    program = [sys.executable, "-m", "hrvit_deploy", *words]
    ran = subprocess.run(
        program, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    old, new = tree(prepared), tree(root)
    seen = set()
    taken = sorted(copies.iterdir(), key=lambda path: [*map(int, path.name.split("-"))])
    for copy in taken:
        state = json.dumps(tree(copy))
        if state not in seen:
            seen.add(state)
            found = violations(copy, old, new)
            figures.violations += [
                f"{command}, killed at {copy.name}: {text}" for text in found
            ]
        shutil.rmtree(copy)
    figures.points, figures.states = len(taken), len(seen)
    return len(taken)


def refused(command: str, prepared: Path, work: Path, points: range, figures: Figures) -> None:
    """Let each call fail in turn, in this process, which the library is preloaded in."""
    reset = ctypes.CDLL(None).crash_reset
    old = tree(prepared)
    for number in points:
        shutil.rmtree(work, ignore_errors=True)
        root = work / "root"
        shutil.copytree(prepared, root)
        os.environ |= {"CRASH_ROOT": f"{root}/", "CRASH_FAIL": str(number), "CRASH_STAY": "1"}
        reset()
        with inside(root):
            code, _, err = call(*COMMANDS[command][1])
        for name in ("CRASH_ROOT", "CRASH_FAIL", "CRASH_STAY"):
            del os.environ[name]
        figures.failures += 1
        said = f"{command}, full from {number} on"
        if "Traceback" in err:
            figures.violations.append(f"{said}: a traceback")
        last = err.strip().splitlines()[-1] if err.strip() else ""
        if code != 0 and not any(w in last for w in ("error:", "warning:")):
            figures.violations.append(
                f"{said}: exit {code} without a line that says why: {last}"
            )
        figures.violations += [f"{said}: {text}" for text in violations(root, old)]


def main_script() -> None:
    """Try the commands named, or all; print their figures as one JSON object."""
    chosen = sys.argv[1:] or list(COMMANDS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "interposer" not in os.environ.get("LD_PRELOAD", ""):
            library = build(folder)
            environment = {
                **os.environ,
                "LD_PRELOAD": str(library),
                "CRASH_LIBRARY": str(library),
            }
            sys.exit(
                subprocess.run(
                    [sys.executable, *sys.orig_argv[1:]], env=environment, check=False
                ).returncode
            )
        library = Path(os.environ.pop("CRASH_LIBRARY"))
        os.environ.pop("LD_PRELOAD")
        os.environ["CRASH_ERRNO"] = str(errno.ENOSPC)
        told = {}
        for command in chosen:
            figures = Figures()
            prepared = folder / f"prepared-{command.replace(' ', '-')}"
            prepare(prepared, command)
            points = killed(command, prepared, folder / "work", library, figures)
            refused(command, prepared, folder / "work", range(1, points + 1), figures)
            told[command] = vars(figures)
            print(command, json.dumps(told[command]), file=sys.stderr, flush=True)  # noqa: T201
    print(json.dumps(told, indent=2))  # noqa: T201


if __name__ == "__main__":
    main_script()
