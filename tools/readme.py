"""Run the commands of README.md and write their output into it; fill in measured tables.

Every ``console`` block holds one ``$ hrvit-deploy ...`` line. They run in order in one
empty folder, which is given a checkpoint ``cityscapes.pth`` and what ``make run`` makes first.
What a command prints on standard output follows its line, or its error if it failed.

Usage: python tools/readme.py [--tables]

With --tables, only the measured tables are renewed, which takes a second.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hrvit_deploy.measure.parity.gates import GATES as GATE_TABLE
from hrvit_deploy.measure.parity.gates import QUALITY

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GATES = ROOT / "docs" / "gates.md"
PREDICTIONS = ROOT / "docs" / "predictions.png"
PARITY = ROOT / "benchmarks" / "results" / "parity.json"
INT8 = ROOT / "benchmarks" / "results" / "int8.json"
PEERS = ROOT / "benchmarks" / "results" / "peers.json"
PRECISIONS = ROOT / "benchmarks" / "results" / "precisions.json"
COMMANDS = ROOT / "benchmarks" / "results" / "commands.json"
PERFORMANCE = ROOT / "docs" / "performance.md"
GPU = ROOT / "benchmarks" / "results" / "gpu.json"
ON_A_GPU = ROOT / "docs" / "gpu.md"
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
TIMEOUT_S = 900
# As many as make run writes.
SCENES = "20"


class Shown(NamedTuple):
    """A command and what the README says it prints."""

    command: str
    output: str


def blocks(text: str) -> Iterator[Shown]:
    """Every command in the text, in order."""
    for match in BLOCK.finditer(text):
        yield Shown(match["command"], match["output"])


def prepare(folder: Path) -> None:
    """Put there what the README's reader has: a checkpoint of their own."""
    import torch

    from hrvit_deploy.model.network import build_network, set_random_weights
    from hrvit_deploy.model.variants import VARIANTS
    from hrvit_deploy.options import Task

    network = build_network(VARIANTS["b1"], Task.SEGMENT, 19)
    set_random_weights(network, 1)
    torch.save({"state_dict": network.state_dict()}, folder / "cityscapes.pth")
    make_run_files(folder)


def make_run_files(folder: Path) -> None:
    """The trained network, scenes to judge it by, and images to calibrate on."""
    (folder / "examples").symlink_to(ROOT / "examples")
    data = folder / "data" / "digit_scenes"
    script = ROOT / "examples" / "digit_scenes" / "scenes.py"
    subprocess.run([sys.executable, str(script), str(data), "--count", SCENES], check=True)
    shutil.copytree(data / "images" / "training", folder / "calib" / "images")


def run(command: str, folder: Path) -> str:
    """What the command prints in that folder, on standard error if it failed."""
    program, *arguments = shlex.split(command)
    if program != "hrvit-deploy":
        raise ValueError(f"README.md shows {program}, and only hrvit-deploy can be run here")
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
    """Of what a failed command said: its error."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def parity_table() -> str:
    """The measured parity of every variant as Markdown."""
    found = json.loads(PARITY.read_text(encoding="utf-8"))
    rows = [
        "| variant | task | size | type | max error | mean error | cosine | agreement |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["results"]:
        parity = row["parity"]
        rows.append(
            f"| {row['variant']} | {row['task']} | {row['size']} | {row['precision']}"
            f" | {parity['max_abs']:.1e} | {parity['mean_abs']:.1e}"
            f" | {parity['cosine']:.7f} | {parity['agreement']:.5f} |"
        )
    environment = found["environment"]
    versions = environment["versions"]
    rows.append("")
    rows.append(
        f"Errors are absolute, of logits with a deviation near 1. {environment['cpu']},"
        f" torch {versions['torch']}, onnxruntime {versions['onnxruntime']},"
        f" {environment['date'][:10]}."
    )
    return "\n".join(rows)


def int8_table() -> str:
    """What every way to quantize the trained network costs, as Markdown."""
    found = json.loads(INT8.read_text(encoding="utf-8"))
    rows = ["| graph | products in eight bits | size | mIoU | loss |", "|---|---|---|---|---|"]
    reference = next(row["miou"] for row in found["rows"] if row["name"] == "fp32")
    for row in found["rows"]:
        size = f"{row['bytes'] / 2**20:.1f} MiB" if row["bytes"] else ""
        loss = f"{100 * (reference - row['miou']):+.2f} points"
        rows.append(
            f"| {row['name']} | {row['products'] or ''} | {size} | {row['miou']:.4f} | {loss} |"
        )
    images = found["rows"][0]["images"]
    rows += ["", f"mIoU over 11 classes on {images} scenes; {found['date'][:10]}."]
    return "\n".join(rows)


def peers_tables() -> dict[str, str]:
    """What peers.json holds as Markdown, by the name of its marks; nothing without the file."""
    if not PEERS.exists():
        return {}
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from peer_tables import cpu_table, rtx_table, targets_table, where

    sections = json.loads(PEERS.read_text(encoding="utf-8"))["sections"]
    both = (cpu_table(sections), rtx_table(sections))
    measured = "\n\n".join(table.markdown() for table in both if table.rows)
    return {
        "peers": f"{measured}\n\n{where(sections)}",
        "targets": targets_table(sections).markdown(),
    }


def variants_table() -> str:
    """The gain of every variant that was measured, the others than b1 in a file each."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from peer_tables import variants_table as table

    reports = {}
    for path in sorted(PEERS.parent.glob("peers*.json")):
        sections = json.loads(path.read_text(encoding="utf-8"))["sections"]
        reports[sections["cpu"]["variant"]] = sections
    return table(dict(sorted(reports.items()))).markdown()


def precisions_table() -> str:
    """Latency and loss of accuracy of each precision on a CPU, as Markdown."""
    found = json.loads(PRECISIONS.read_text(encoding="utf-8"))
    sizes = found["sizes"]
    header = ["graph and runtime"]
    for size in sizes:
        header += [f"{size}, ms", "to eager", "loss of mIoU, points"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for ways in zip(*sizes.values(), strict=True):
        cells = [ways[0]["name"]]
        for way, rows in zip(ways, sizes.values(), strict=True):
            loss = 100 * (rows[0]["miou"] - way["miou"])
            cells += [f"{way['median_ms']:.0f}", f"{way['ratio']:.2f}", f"{loss:.2f}"]
        lines.append(cells)
    environment = found["environment"]
    inferred = {row["settings"].get("inference_precision") for row in rows} - {None, "f32"}
    about = (
        f"HRViT-b1 trained on digit scenes, {rows[0]['images']} scenes, {found['threads']}"
        f" threads; OpenVINO's default here is {' and '.join(sorted(inferred))}."
        f" {' '.join(environment['cpu'].split())}, {found['date'][:10]}."
    )
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", about])


def commands_table() -> str:
    """What whole commands take, as Markdown."""
    found = json.loads(COMMANDS.read_text(encoding="utf-8"))
    lines = [
        "| command | seconds | at most | MiB | at most |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        most = f"{row['limit_mib']:,.0f}" if row["limit_mib"] else ""
        spent = f"{row['seconds']:.0f}" if row["exit_code"] == 0 else f"exit {row['exit_code']}"
        lines.append(
            f"| `{row['command']}` | {spent} | {row['limit_s']:.0f}"
            f" | {row['peak_mib']:,.0f} | {most} |"
        )
    environment = found["environment"]
    return "\n".join(
        [*lines, "", f"{' '.join(environment['cpu'].split())}, {found['date'][:10]}."]
    )


def charts(*names: str, folder: str) -> str:
    """Those of benchmarks/results that there are, as Markdown images."""
    held = [name for name in names if (PEERS.parent / f"{name}.png").exists()]
    return "\n\n".join(f"![{name}]({folder}benchmarks/results/{name}.png)" for name in held)


def gates_table() -> str:
    """The default gates of every precision as Markdown."""
    meanings = {
        "max_error": "largest error, in deviations of the reference's answers, at most",
        "mean_error": "mean error, likewise",
        "cosine": "of all answers as one vector, at least",
        "agreement": "images, or pixels, that get the same class, at least",
    }
    rows = [
        f"| gate | what is measured | {' | '.join(GATE_TABLE)} |",
        f"|---|---|{'---|' * len(GATE_TABLE)}",
    ]
    for name, meaning in meanings.items():
        values = " | ".join(f"{getattr(gates, name):g}" for gates in GATE_TABLE.values())
        rows.append(f"| `--{name.replace('_', '-')}` | {meaning} | {values} |")
    return "\n".join(rows)


def quality_table() -> str:
    """What every precision may cost, as Markdown."""
    rows = ["| precision | points of mIoU or top-1 | decisions that stay |", "|---|---|---|"]
    rows += [
        f"| {precision} | {100 * limits.drop:g} | {limits.agreement:.1%} |"
        for precision, limits in QUALITY.items()
        if precision != "fp32"
    ]
    return "\n".join(rows)


def fill(text: str, name: str, content: str) -> str:
    """The text with what stands between ``name``'s two marks replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if begin not in text or end not in text:
        raise ValueError(f"there is no {begin} and {end} to write {name} between")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"


def draw(folder: Path, count: int = 3) -> None:
    """Scenes beside what the trained network sees in them, as docs/predictions.png."""
    from PIL import Image

    graph = "export/hrvit-b1-segment-256x256.onnx"
    scenes = sorted((folder / "data/digit_scenes/images/validation").glob("*.png"))[:count]
    run(shlex.join(["hrvit-deploy", "predict", graph, *map(str, scenes)]), folder)
    overlays = [folder / "predictions" / f"{scene.stem}-overlay.png" for scene in scenes]
    pictures = [Image.open(path) for path in overlays]
    width = sum(picture.width for picture in pictures)
    score_map = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        score_map.paste(picture, (left, 0))
        left += picture.width
    score_map.save(PREDICTIONS, optimize=True)


def filled_readme(text: str) -> str:
    """README.md with its measured tables."""
    return with_gpu(with_peers(fill(text, "int8", int8_table())), whole=False)


def with_peers(text: str) -> str:
    """README.md with what peers.json holds; as it is without the file."""
    tables = peers_tables()
    if not tables:
        return text
    return fill(text, "peers", f"{tables['peers']}\n\n{charts('peers', folder='')}")


def with_gpu(text: str, *, whole: bool = True) -> str:
    """A document with what gpu.py measured, all of it or the gist; as it is without that."""
    if not GPU.exists():
        return text
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from gpu_tables import everything, performance

    report = json.loads(GPU.read_text(encoding="utf-8"))
    return fill(text, "gpu", everything(report) if whole else performance(report))


def filled_performance(text: str) -> str:
    """docs/performance.md with its measured tables and charts."""
    for name, table in peers_tables().items():
        text = fill(text, name, table)
    text = fill(text, "variants", variants_table())
    text = fill(text, "precisions", precisions_table())
    text = fill(text, "commands", commands_table())
    return fill(text, "charts", charts("peers", "scaling", folder="../"))


def filled_gates(text: str) -> str:
    """docs/gates.md with its tables."""
    tables = {"gates": gates_table(), "parity": parity_table(), "quality": quality_table()}
    for name, table in tables.items():
        text = fill(text, name, table)
    return text


def renew_commands() -> None:
    """Run README.md's commands and write what they print; draw docs/predictions.png."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder)

        def renew(match: re.Match[str]) -> str:
            sys.stderr.write(f"{match['command']}\n")
            return f"```console\n$ {match['command']}\n{run(match['command'], folder)}```"

        text = BLOCK.sub(renew, README.read_text(encoding="utf-8"))
        README.write_text(text, encoding="utf-8")
        draw(folder)


def main() -> None:
    """Rewrite README.md, what docs hold of measured tables, and docs/predictions.png."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--tables", action="store_true", help="only those; run no command")
    if not parser.parse_args().tables:
        renew_commands()
    for path, filled in DOCUMENTS.items():
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


DOCUMENTS = {
    README: filled_readme,
    GATES: filled_gates,
    PERFORMANCE: filled_performance,
    ON_A_GPU: with_gpu,
}


if __name__ == "__main__":
    main()
