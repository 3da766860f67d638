"""Results as people read them."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from hrvit_deploy.artefact import Artefact, Parity
from hrvit_deploy.cli.console import human_bytes


def printer() -> Console:
    """Standard output, as wide as its text when it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=100)


def facts(rows: dict[str, str], title: str = "") -> Table:
    """Names on the left, values on the right."""
    table = Table(box=None, show_header=False, title=title, title_justify="left", pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def columns(headings: list[str], rows: list[list[str]], title: str = "") -> Table:
    """A table with numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def written(artefact: Artefact) -> dict[str, str]:
    """What a new artefact is, in a few rows."""
    manifest = artefact.manifest
    described = manifest.network
    rows = {
        "written": f"{artefact.path} ({human_bytes(artefact.path.stat().st_size)})",
        "network": f"HRViT-{described.variant.name} to {described.task}"
        f" {described.num_classes} classes, {described.weights} weights",
        "precision": str(manifest.precision),
    }
    if manifest.graph is not None:
        nodes = sum(manifest.graph.nodes.values())
        simplified = "simplified" if manifest.graph.simplified else "not simplified"
        rows["graph"] = f"{nodes:,} nodes, opset {manifest.graph.opset}, {simplified}"
        if manifest.graph.float32_islands:
            rows["islands"] = f"{len(manifest.graph.float32_islands)} nodes in float32"
    if manifest.engine is not None:
        engine = manifest.engine
        rows["backend"] = f"{engine.backend} {engine.version}, {engine.build_seconds:.1f} s"
        rows["layers"] = counts(engine.layers)
        rows["products"] = counts(engine.products)
        rows["weights"] = human_bytes(engine.weight_bytes)
        rows["runs on"] = (
            f"compute capability {', '.join(engine.compute_capabilities)}"
            if engine.compute_capabilities
            else engine.gpu
        )
    if manifest.parity is not None:
        rows |= parity(manifest.parity)
    return rows


def counts(numbers: dict[str, int]) -> str:
    """``528 float16, 1 float32``."""
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())


def parity(found: Parity) -> dict[str, str]:
    """A comparison and its verdict."""
    rows = {
        "compared": f"with {found.reference} on {found.images} images: "
        + ("passed" if found.passed else f"FAILED: {found.note}")
    }
    gates = found.gates
    measured = {
        "max abs": (found.max_abs, "max_abs", "at most"),
        "mean abs": (found.mean_abs, "mean_abs", "at most"),
        "cosine": (found.cosine, "cosine", "at least"),
        "agreement": (found.agreement, "agreement", "at least"),
    }
    for name, (value, gate, bound) in measured.items():
        if gate in gates:
            rows[name] = f"{number(value)} ({bound} {number(gates[gate])})"
    return rows


def number(value: float) -> str:
    """Six digits near one, two and an exponent far from it."""
    return f"{value:.6f}" if 0.01 <= abs(value) <= 1 else f"{value:.1e}"
