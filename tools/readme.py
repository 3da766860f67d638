"""Run the commands that README.md and docs/ show, and fill in what was measured.

Every ``console`` block holds one ``$ hrvit-deploy ...`` line. They run in order, a page after
another, in one empty folder, which is given a checkpoint ``cityscapes.pth`` and what ``make
run`` makes first. What a command prints on standard output follows its line, or its error if
it failed. A command that is shown twice runs once.

Usage: python tools/readme.py             all of it, which takes some ten minutes
       python tools/readme.py --tables    the measured tables alone, in a second
       python tools/readme.py --suite     run make test, and show how it ends in README.md
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import docs_tables as tables

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
PREDICTIONS = DOCS / "predictions.png"
PERFORMANCE = DOCS / "explanation" / "performance.md"
# Pages that show commands, in the order in which these run: later ones use what earlier ones
# wrote.
PAGES = (
    TUTORIAL,
    DOCS / "how-to" / "own-checkpoint.md",
    DOCS / "how-to" / "int8.md",
    DOCS / "how-to" / "verify.md",
    DOCS / "how-to" / "benchmark.md",
    DOCS / "how-to" / "install.md",
    DOCS / "explanation" / "rewrites.md",
    README,
)
# Page to its marks, and what is written between them.
TABLES: dict[Path, dict[str, Callable[[], str]]] = {
    README: {
        "commands": tables.commands_of_the_program,
        "summary": tables.summary_table,
        "gpu": tables.gpu_gist,
    },
    DOCS / "how-to" / "int8.md": {"int8": tables.int8_table},
    DOCS / "explanation" / "rewrites.md": {"rewrites": tables.rewrites_table},
    DOCS / "explanation" / "gates.md": {
        "gates": tables.gates_table,
        "quality": tables.quality_table,
        "parity": tables.parity_table,
    },
    PERFORMANCE: {
        "peers": lambda: tables.peers_tables().get("peers", ""),
        "charts": lambda: tables.charts("peers", "scaling", page=PERFORMANCE),
        "variants": tables.variants_table,
        "precisions": tables.precisions_table,
        "commands": tables.commands_table,
        "targets": lambda: tables.peers_tables().get("targets", ""),
    },
    DOCS / "explanation" / "performance-gpu.md": {"gpu": tables.gpu_tables},
}
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
PROGRAM = "hrvit-deploy"
SUITE = "make test"
TIMEOUT_S = 900
# As many as make run writes.
SCENES = "20"


class Shown(NamedTuple):
    """A command and what a page says it prints."""

    command: str
    output: str


def blocks(text: str) -> Iterator[Shown]:
    """Yield every command of the program in the text, in order."""
    for match in BLOCK.finditer(text):
        if match["command"] != SUITE:
            yield Shown(match["command"], match["output"])


def prepare(folder: Path) -> None:
    """Put there what a reader has: a checkpoint of their own, and what make run makes."""
    import torch

    from hrvit_deploy.model.network import build_network, set_random_weights
    from hrvit_deploy.model.variants import VARIANTS
    from hrvit_deploy.options import Task

    network = build_network(VARIANTS["b1"], Task.SEGMENT, 19)
    set_random_weights(network, 1)
    torch.save({"state_dict": network.state_dict()}, folder / "cityscapes.pth")
    make_run_files(folder)


def make_run_files(folder: Path) -> None:
    """Put there the trained network, labelled scenes, and images to calibrate on."""
    (folder / "examples").symlink_to(ROOT / "examples")
    data = folder / "data" / "digit_scenes"
    script = ROOT / "examples" / "digit_scenes" / "scenes.py"
    subprocess.run([sys.executable, str(script), str(data), "--count", SCENES], check=True)
    shutil.copytree(data / "images" / "training", folder / "calib" / "images")


def run(command: str, folder: Path) -> str:
    """Return what the command prints in that folder, on standard error if it failed."""
    program, *arguments = shlex.split(command)
    if program != PROGRAM:
        raise ValueError(f"a page shows {program}, and only {PROGRAM} can be run here")
    done = subprocess.run(
        [sys.executable, "-m", "hrvit_deploy", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    text = done.stdout if done.returncode == 0 else last_line(done.stderr)
    if done.returncode and not text.startswith("error: "):
        raise RuntimeError(f"{command} failed: {done.stdout}{done.stderr}")
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "\n".join(lines) + "\n"


def last_line(text: str) -> str:
    """Return the last line of a text; of what a failed command printed, its error."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def fill(text: str, name: str, content: str) -> str:
    """Return the text with what stands between ``name``'s two marks replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if begin not in text or end not in text:
        raise ValueError(f"there is no {begin} and {end} to write {name} between")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"


def filled(page: Path) -> str:
    """Return a page's text with its tables as they would be written today."""
    text = page.read_text(encoding="utf-8")
    for name, table in TABLES[page].items():
        content = table()
        if content:
            text = fill(text, name, content)
    return text


def block_of(command: str, output: str) -> str:
    """Return the console block that shows a command."""
    return f"```console\n$ {command}\n{output}```"


def renew_commands() -> None:
    """Run the commands of every page and write what they print; draw the predictions."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder)
        printed: dict[str, str] = {}

        def renew(match: re.Match[str]) -> str:
            command = match["command"]
            if command == SUITE:
                return match[0]
            if command not in printed:
                sys.stderr.write(f"{command}\n")
                printed[command] = run(command, folder)
            return block_of(command, printed[command])

        # No page is written before every command has run.
        renewed = {page: BLOCK.sub(renew, page.read_text(encoding="utf-8")) for page in PAGES}
        draw(folder)
    for page, text in renewed.items():
        page.write_text(text, encoding="utf-8")


def renew_suite() -> None:
    """Run the tests and write how they end into README.md.

    Raises:
        RuntimeError: A test failed.
    """
    done = subprocess.run(SUITE.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    ending = last_line(done.stdout)
    if done.returncode:
        raise RuntimeError(f"{SUITE} failed: {ending} {last_line(done.stderr)}")
    text = README.read_text(encoding="utf-8")
    README.write_text(fill(text, "suite", block_of(SUITE, f"{ending}\n")), encoding="utf-8")


def draw(folder: Path, count: int = 3) -> None:
    """Draw scenes under the classes that the trained network finds, as docs/predictions.png."""
    from PIL import Image

    graph = "export/hrvit-b1-segment-256x256.onnx"
    scenes = sorted((folder / "data/digit_scenes/images/validation").glob("*.png"))[:count]
    run(shlex.join([PROGRAM, "predict", graph, *map(str, scenes)]), folder)
    overlays = [folder / "predictions" / f"{scene.stem}-overlay.png" for scene in scenes]
    pictures = [Image.open(path) for path in overlays]
    width = sum(picture.width for picture in pictures)
    strip = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width
    strip.save(PREDICTIONS, optimize=True)


def main() -> None:
    """Rewrite what README.md and docs/ show of commands and of measurements."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--tables", action="store_true", help="tables alone; run no command")
    group.add_argument("--suite", action="store_true", help="run make test; show how it ends")
    arguments = parser.parse_args()
    if arguments.suite:
        renew_suite()
    elif not arguments.tables:
        renew_commands()
    for page in TABLES:
        page.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
