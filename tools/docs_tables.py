"""Write the tables of README.md and docs/ from what was measured, and from the program.

Figures come from ``benchmarks/results``; gates, rewrites and commands from the package itself.
Each function returns Markdown.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import docs_commands

from hrvit_deploy.measure.parity.gates import GATES, QUALITY

ROOT = Path(__file__).parents[1]
# The benchmarks are not installed with the package.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

RESULTS = ROOT / "benchmarks" / "results"
PARITY = RESULTS / "parity.json"
INT8 = RESULTS / "int8.json"
PEERS = RESULTS / "peers.json"
PRECISIONS = RESULTS / "precisions.json"
COMMANDS = RESULTS / "commands.json"
GPU = RESULTS / "gpu.json"
CHARTS = {
    "peers": "Latency of every candidate on both tasks",
    "scaling": "Latency against the size of the image, and against the batch",
}
NO_GPU = "Nothing has been run on a GPU yet."
# The rows of peers.json that README.md shows, and what it calls them.
SHORT = {
    "eager": "PyTorch, eager",
    "torch.compile": "PyTorch, `torch.compile`",
    "plain, onnxruntime": "`torch.onnx.export` and onnxsim, in onnxruntime",
    "ours fitted, onnxruntime": "**hrvit-deploy**, in onnxruntime",
    "plain, OpenVINO f32": "`torch.onnx.export` and onnxsim, in OpenVINO",
    "ours fitted, OpenVINO f32": "**hrvit-deploy**, in OpenVINO",
}


def parity_table() -> str:
    """Return the measured parity of every variant."""
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
    """Return what every way to quantize the trained network costs."""
    found = json.loads(INT8.read_text(encoding="utf-8"))
    rows = ["| graph | products in eight bits | size | mIoU | loss |", "|---|---|---|---|---|"]
    reference = next(row["miou"] for row in found["rows"] if row["name"] == "fp32")
    for row in found["rows"]:
        size = f"{row['bytes'] / 2**20:.1f} MiB" if row["bytes"] else ""
        points = round(100 * (reference - row["miou"]), 2) + 0.0  # no minus before a zero
        loss = f"{points:+.2f} points"
        rows.append(
            f"| {row['name']} | {row['products'] or ''} | {size} | {row['miou']:.4f} | {loss} |"
        )
    images = found["rows"][0]["images"]
    rows += ["", f"mIoU over 11 classes on {images} scenes; {found['date'][:10]}."]
    return "\n".join(rows)


def peers_tables() -> dict[str, str]:
    """Return what peers.json holds, by the name of its marks; nothing without the file."""
    if not PEERS.exists():
        return {}
    from benchmarks.cpu.tables import cpu_table, rtx_table, targets_table, where

    sections = json.loads(PEERS.read_text(encoding="utf-8"))["sections"]
    both = (cpu_table(sections), rtx_table(sections))
    measured = "\n\n".join(table.markdown() for table in both if table.rows)
    return {
        "peers": f"{measured}\n\n{where(sections)}",
        "targets": targets_table(sections).markdown(),
    }


def variants_table() -> str:
    """Return the gain of every measured variant; all but b1 have a file of their own."""
    from benchmarks.cpu.tables import variants_table as table

    reports = {}
    for path in sorted(RESULTS.glob("peers*.json")):
        sections = json.loads(path.read_text(encoding="utf-8"))["sections"]
        reports[sections["cpu"]["variant"]] = sections
    return table(dict(sorted(reports.items()))).markdown()


def precisions_table() -> str:
    """Return latency and loss of accuracy of each precision on a CPU."""
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
    """Return the seconds and the memory of whole commands."""
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


def charts(*names: str, page: Path) -> str:
    """Return those of the charts that there are, as images of a page."""
    lines = []
    for name in names:
        path = RESULTS / f"{name}.png"
        if path.exists():
            link = Path(os.path.relpath(path, page.parent)).as_posix()
            lines.append(f"![{CHARTS[name]}]({link})")
    return "\n\n".join(lines)


def gates_table() -> str:
    """Return the default gates of every precision."""
    meanings = {
        "max_error": "largest error, in deviations of the reference's answers, at most",
        "mean_error": "mean error, in the same unit, at most",
        "cosine": "of all answers as one vector, at least",
        "agreement": "images, or pixels, that get the same class, at least",
    }
    rows = [
        f"| gate | what is measured | {' | '.join(GATES)} |",
        f"|---|---|{'---|' * len(GATES)}",
    ]
    for name, meaning in meanings.items():
        values = " | ".join(f"{getattr(gates, name):g}" for gates in GATES.values())
        rows.append(f"| `--{name.replace('_', '-')}` | {meaning} | {values} |")
    return "\n".join(rows)


def quality_table() -> str:
    """Return what every precision may cost."""
    rows = ["| precision | points of mIoU or top-1 | agreement by class |", "|---|---|---|"]
    rows += [
        f"| {precision} | {100 * limits.drop:g} | {limits.agreement:g} |"
        for precision, limits in QUALITY.items()
        if precision != "fp32"
    ]
    return "\n".join(rows)


def summary_table() -> str:
    """Return the latencies that README.md shows, and what INT8 costs."""
    if not PEERS.exists():
        return ""
    from benchmarks.cpu.tables import where

    sections = json.loads(PEERS.read_text(encoding="utf-8"))["sections"]
    cases = sections["cpu"]["rows"]
    header = ["HRViT-b1 in float32"]
    for case in cases:
        header += [f"{case['task']} {case['size']}", "to eager"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for name, title in SHORT.items():
        cells = [title]
        for case in cases:
            row = next(row for row in case["rows"] if row["name"] == name)
            cells += [f"{row['median_ms']:.0f} ms", f"{row['ratio']:.2f}"]
        lines.append(cells)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\n{where(sections)}\n\n{_accuracy()}"


def _accuracy() -> str:
    """Return what float16 and INT8 cost the trained network, in a sentence."""
    found = json.loads(INT8.read_text(encoding="utf-8"))
    names = {
        "fp32": "a float32 graph",
        "fp16": "a float16 graph",
        "int8 mse, the rest fp16": "an INT8 graph",
    }
    rows = {row["name"]: row for row in found["rows"]}
    held = [f"{rows[name]['miou']:.4f} as {title}" for name, title in names.items()]
    said = f"{', '.join(held[:-1])} and {held[-1]}"
    return (
        f"HRViT-b1 trained on digit scenes has an mIoU of {said},"
        f" on {rows['fp32']['images']} scenes that were held out."
    )


def rewrites_table() -> str:
    """Return which rewrites each graph gets."""
    from hrvit_deploy.deploy.form import REWRITES, TARGETS

    lines = [
        f"| rewrite | by default | {' | '.join(f'`--for {target}`' for target in TARGETS)} |",
        f"|---|---|{'---|' * len(TARGETS)}",
    ]
    for rewrite in REWRITES:
        chosen = [rewrite.default, *(rewrite.name in names for names in TARGETS.values())]
        cells = " | ".join("on" if is_on else "" for is_on in chosen)
        lines.append(f"| `{rewrite.name}` | {cells} |")
    return "\n".join(lines)


def commands_of_the_program() -> str:
    """Return every command of the program and what it does."""
    return docs_commands.table_of_commands(docs_commands.read_commands(), linked=False)


def gpu_gist() -> str:
    """Return what was measured on a GPU in its shortest form."""
    from benchmarks.gpu.tables import performance

    report = _gpu_report()
    return performance(report) if report else NO_GPU


def gpu_tables() -> str:
    """Return everything that was measured on a GPU."""
    from benchmarks.gpu.tables import everything

    report = _gpu_report()
    return everything(report) if report else NO_GPU


def _gpu_report() -> dict[str, Any] | None:
    if not GPU.exists():
        return None
    report: dict[str, Any] = json.loads(GPU.read_text(encoding="utf-8"))
    return report
