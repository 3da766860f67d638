"""Results as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hrvit_deploy.artefact import (
    Artefact,
    Engine,
    Gate,
    Manifest,
    Network,
    Origin,
    Parity,
    Quantization,
    TensorInfo,
    plain,
)
from hrvit_deploy.cli.console import human_bytes, print_json, shown, written
from hrvit_deploy.encoding import encode_json
from hrvit_deploy.pipeline.run import PipelineResult
from hrvit_deploy.staging import staging
from hrvit_deploy.verdict import AGREEMENT, Verdict, verdict_of

if TYPE_CHECKING:
    from hrvit_deploy.measure.latency.bench import BenchReport
    from hrvit_deploy.measure.latency.profile import Profile
    from hrvit_deploy.report.doctor import Diagnosis
    from hrvit_deploy.report.inspect import Description
    from hrvit_deploy.report.variants import VariantDescription


def printer() -> Console:
    """Return standard output, as wide as its text when it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=100)


def facts(rows: dict[str, str], title: str = "") -> Table:
    """Lay out names on the left and values on the right."""
    table = Table(
        box=None, show_header=False, title=title, title_justify="left", pad_edge=False
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(shown(name)), Text(shown(value)))
    return table


def columns(headings: list[str], rows: list[list[str]], *, numbers: bool = False) -> Table:
    """Lay out a table; with ``numbers``, align all columns but the first to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        right = numbers and index > 0
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table


def describe_artefact(artefact: Artefact) -> dict[str, str]:
    """Describe a new artefact in a few rows."""
    manifest = artefact.manifest
    described = manifest.network
    rows = {
        "written": f"{artefact.path} ({human_bytes(artefact.path.stat().st_size)})",
        "network": describe_network(described),
        "precision": str(manifest.precision),
    }
    if manifest.origin is not None:
        rows |= describe_origin(manifest.origin)
    if manifest.graph is not None:
        nodes = sum(manifest.graph.nodes.values())
        simplified = "simplified" if manifest.graph.simplified else "not simplified"
        rows["graph"] = f"{nodes:,} nodes, opset {manifest.graph.opset}"
        rows["graph"] += "" if manifest.origin else f", {simplified}"
        if manifest.graph.float32_islands:
            rows["islands"] = f"{len(manifest.graph.float32_islands)} nodes in float32"
    if manifest.quantization is not None:
        rows |= describe_quantization(manifest.quantization)
    if manifest.engine is not None:
        engine = manifest.engine
        rows["backend"] = f"{engine.backend} {engine.version}, {engine.build_seconds:.1f} s"
        rows["layers"] = counts(engine.layers)
        rows["products"] = counts(engine.products)
        rows["weights"] = _weights(engine)
        rows["runs on"] = (
            f"compute capability {', '.join(engine.compute_capabilities)}"
            if engine.compute_capabilities
            else engine.gpu
        )
    return rows | describe_verdict(verdict_of(manifest), manifest.parity, manifest.gate)


def describe_verdict(
    verdict: Verdict, parity: Parity | None, gate: Gate | None
) -> dict[str, str]:
    """Describe the one verdict on an artefact, then the figures it stands on."""
    rows = {"verdict": str(verdict)}
    if parity is not None:
        rows |= describe_parity(parity)
    if gate is not None:
        rows |= describe_gate(gate)
    return rows


def print_artefact(artefact: Artefact, *, as_json: bool) -> None:
    """Print a new artefact."""
    if not as_json:
        printer().print(facts(describe_artefact(artefact)))
        return
    parity, engine = artefact.manifest.parity, artefact.manifest.engine
    shown: dict[str, Any] = {
        "artefact": artefact.path,
        "precision": artefact.manifest.precision,
        "verdict": plain(verdict_of(artefact.manifest)),
        "parity": plain(parity) if parity else None,
        "engine": plain(engine),
    }
    print_json(shown | (engine_report(artefact.manifest) if engine else {}))


def engine_report(manifest: Manifest) -> dict[str, Any]:
    """Return what ``build-trt`` adds to its object: the gate, and what is in eight bits."""
    engine, gate = manifest.engine, manifest.gate
    assert engine is not None
    report: dict[str, Any] = {
        "gate": plain(gate) if gate else None,
        "weight_bytes": engine.weight_bytes,
    }
    if manifest.quantization is None:
        return report
    return report | {
        f"{manifest.precision}_layers": engine.quantized_layers,
        f"{manifest.precision}_weight_bytes": engine.quantized_bytes,
        "quantization": plain(manifest.quantization),
    }


def print_parity(artefact: Artefact, *, as_json: bool) -> None:
    """Print how near an artefact is to the reference it was just compared with."""
    measured = artefact.manifest.parity
    assert measured is not None
    if as_json:
        verdict = plain(verdict_of(artefact.manifest))
        print_json({"artefact": artefact.path, "verdict": verdict, **plain(measured)})
    else:
        rows = describe_verdict(verdict_of(artefact.manifest), measured, None)
        printer().print(facts({"artefact": str(artefact.path), **rows}))


def describe_network(network: Network) -> str:
    """Return ``HRViT-b1 to segment 150 classes, checkpoint weights``."""
    if network.task is None:
        return f"{network.title}, {network.weights} weights; its outputs decide nothing known"
    if not network.decides:
        return f"{network.title} without a head, {network.weights} weights: four feature maps"
    count = network.num_classes or "an unknown number of"
    return f"{network.title} to {network.task} {count} classes, {network.weights} weights"


def describe_origin(origin: Origin) -> dict[str, str]:
    """Describe where a graph came from that another tool wrote, in a row."""
    known = origin.compared_with
    digits = f" (SHA-256 {origin.compared_sha256[:16]})" if origin.compared_sha256 else ""
    by = f"taken over from {known}{digits}" if known else "compared with nothing"
    return {"origin": f"{origin.file} of {origin.producer or 'an unnamed tool'}, {by}"}


def describe_quantization(quantized: Quantization) -> dict[str, str]:
    """Describe how values were brought to eight bits, in a few rows."""
    kinds = ", ".join(quantized.groups) or "as it came"
    rows = {
        str(
            quantized.precision
        ): f"{quantized.products} products ({kinds}), the rest in {quantized.rest}"
    }
    if quantized.kept:
        more = (
            f" and {len(quantized.kept) - 1} more products" if len(quantized.kept) > 1 else ""
        )
        rows["in float"] = f"{quantized.kept[0]}{more}"
    rows["ranges"] = (
        f"{quantized.method}, {quantized.images} images"
        if quantized.images
        else quantized.method
    )
    if quantized.random_data:
        rows["ranges"] = "from noise: they mean nothing"
    return rows


def describe_gate(gate: Gate) -> dict[str, str]:
    """Describe what a quality gate measured in a row or two."""
    against = f" against {gate.reference:.4f}"
    if gate.metric == AGREEMENT:
        against = " by class" if gate.share is None else f" by class, {gate.share:.4f} in all"
    on = f" on {gate.images} images" + (f" of {gate.data}" if gate.data else "")
    rows = {
        "gate": f"{gate.metric} {gate.candidate:.4f}{against}, at least {gate.limit:.4f},{on}"
    }
    if gate.seen is not None:
        rows["unseen"] = f"{gate.images - gate.seen} of these images were not calibrated on"
    return rows


def _weights(engine: Engine) -> str:
    """Count the bytes of weights a plan was built from, and those of them in eight bits."""
    if not engine.quantized_bytes:
        return human_bytes(engine.weight_bytes)
    return (
        f"{human_bytes(engine.weight_bytes)},"
        f" {human_bytes(engine.quantized_bytes)} of them in eight bits"
    )


def counts(numbers: dict[str, int]) -> str:
    """Return ``528 float16, 1 float32``."""
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())


def describe_parity(comparison: Parity) -> dict[str, str]:
    """Describe what a comparison measured."""
    rows = {"compared": f"with {comparison.reference} on {comparison.images} images"}
    gates = comparison.gates
    measured = {
        "max abs": (comparison.max_abs, "max_abs", "at most"),
        "mean abs": (comparison.mean_abs, "mean_abs", "at most"),
        "cosine": (comparison.cosine, "cosine", "at least"),
        "agreement": (comparison.agreement, "agreement", "at least"),
    }
    for name, (value, gate, bound) in measured.items():
        if gate in gates:
            rows[name] = f"{number(value)} ({bound} {number(gates[gate])})"
    if comparison.class_agreement is not None:
        rows["by class"] = number(comparison.class_agreement)
    return rows


def number(value: float) -> str:
    """Format a number: six digits near one, two and an exponent far from it."""
    return f"{value:.6f}" if 0.01 <= abs(value) <= 1 else f"{value:.1e}"


def print_bench(
    report: BenchReport,
    folder: Path,
    name: str,
    *,
    profiles: Sequence[Profile] = (),
    as_json: bool,
) -> None:
    """Print a benchmark and where its time goes; write its JSON and its chart."""
    from hrvit_deploy.report.plots import plot_bench

    path, charts = folder / f"{name}.json", list[Path]()

    def write() -> None:
        save_bench(report, path, profiles)
        charts.append(plot_bench(report, path.with_suffix(".png")))

    saved = written(write)
    places = {"saved": path, "chart": charts[0]} if saved else {}
    if as_json:
        shown_report = {**plain(report), **places}
        print_json(shown_report | ({"profiles": plain(profiles)} if profiles else {}))
    else:
        _print_bench(report, profiles, places)
    if not saved:
        raise typer.Exit(1)


def _print_bench(
    report: BenchReport, profiles: Sequence[Profile], places: dict[str, Path]
) -> None:
    printer().print(bench_table(report))
    for row in report.results:
        if row.error:
            printer().print(Text(f"{row.name} failed: {row.error}; {row.hint}"))
    for profiled in profiles:
        printer().print()
        printer().print(operator_table(profiled))
        printer().print()
        printer().print(node_table(profiled))
    if places:
        printer().print(facts({"written": ", ".join(map(str, places.values()))}))


def operator_table(profile: Profile) -> Table:
    """Lay out a row a type of operator, the most expensive first."""
    rows = [
        [row.operator, str(row.nodes), f"{row.time_ms:.2f}", f"{row.share:.1%}"]
        for row in profile.operators
    ]
    headings = [f"{profile.name} in {profile.runner}", "nodes", "ms", "share"]
    return columns(headings, rows, numbers=True)


def node_table(profile: Profile) -> Table:
    """Lay out the slowest nodes, a row each."""
    shares = (node.time_ms / profile.nodes_ms for node in profile.slowest)
    rows = [
        [node.name, node.operator, f"{node.time_ms:.2f}", f"{share:.1%}"]
        for node, share in zip(profile.slowest, shares, strict=True)
    ]
    return columns(["slowest", "operator", "ms", "share"], rows, numbers=True)


def bench_table(report: BenchReport) -> Table:
    """Lay out a row a candidate."""
    rows = []
    for row in report.results:
        if row.error:
            rows.append([row.name, "failed", *[""] * 6])
            continue
        timed = (row.p50_ms, row.p90_ms, row.p99_ms, row.mean_ms)
        rows.append(
            [
                row.name,
                *(f"{value:.2f}" for value in timed if value is not None),
                f"{row.images_per_s:.1f}",
                "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
                "" if row.ratio is None else f"{row.ratio:.2f}",
            ]
        )
    headings = ["", "p50 ms", "p90 ms", "p99 ms", "mean ms", "images/s", "peak MiB", "ratio"]
    return columns(headings, rows, numbers=True)


def save_bench(report: BenchReport, path: Path, profiles: Sequence[Profile] = ()) -> Path:
    """Write a benchmark's JSON, whole or not at all."""
    document = plain(report) | ({"profiles": plain(profiles)} if profiles else {})
    with staging(path) as folder:
        encoded = msgspec.json.format(encode_json(document), indent=2)
        (folder / path.name).write_bytes(encoded + b"\n")
    return path


def print_run(result: PipelineResult, *, as_json: bool) -> None:
    """Print what the whole pipeline made and measured."""
    if as_json:
        print_json(
            {
                "artefact": result.engine.path,
                "graph": {"artefact": result.graph.path, **plain(result.graph.manifest.parity)},
                "engine": plain(result.engine.manifest.engine),
                "bench": plain(result.report),
            }
        )
        return
    console = printer()
    for title, artefact in (("Graph", result.graph), ("Engine", result.engine)):
        console.print(facts(describe_artefact(artefact), title))
        console.print()
    console.print(bench_table(result.report))


def print_description(artefact: Description) -> None:
    """Print what an artefact is, takes and returns, and where it came from."""
    network = artefact.network
    console = printer()
    rows = {
        "artefact": f"{artefact.path}"
        f" ({human_bytes(artefact.file_bytes + artefact.external_bytes)})",
        "network": describe_network(network),
        "costs": describe_costs(network),
        "precision": artefact.precision,
    }
    if artefact.origin is not None:
        rows |= describe_origin(artefact.origin)
    rows["input"] = ", ".join(map(_tensor, artefact.inputs))
    rows["prepared"] = (
        f"{artefact.preparation.color}, resized to {artefact.preparation.size}"
        f" ({artefact.preparation.resize}), as {artefact.preparation.format}"
    )
    rows["output"] = ", ".join(map(_tensor, artefact.outputs))
    if artefact.operators:
        rows["operators"] = f"{artefact.nodes:,}: {counts(artefact.operators)}"
    if artefact.graph is not None:
        rows["opset"] = str(artefact.graph.opset)
        rows["rewrites"] = ", ".join(artefact.graph.rewrites)
        if artefact.graph.float32_islands:
            rows["islands"] = f"{len(artefact.graph.float32_islands)} nodes in float32"
    if artefact.quantization is not None:
        rows |= describe_quantization(artefact.quantization)
    if artefact.engine is not None:
        engine = artefact.engine
        rows["backend"] = f"{engine.backend} {engine.version}"
        rows["layers"] = counts(artefact.layers)
        rows["products"] = counts(engine.products)
        rows["weights"] = _weights(engine)
        rows["runs on"] = ", ".join(engine.compute_capabilities)
    rows |= describe_verdict(artefact.verdict, artefact.parity, artefact.gate)
    console.print(facts(rows))
    chain = [[source.path, source.kind, source.sha256[:16]] for source in artefact.chain]
    console.print(columns(["made from", "kind", "SHA-256"], chain))


def _tensor(info: TensorInfo) -> str:
    return f"{info.name}: {info.dtype} {' x '.join(map(str, info.shape))} {info.layout}"


def describe_costs(network: Network) -> str:
    """Return ``19.69 M parameters, 2.78 G multiply-adds``; of another network the first."""
    if network.variant is None:
        return f"{network.parameters / 1e6:.2f} M parameters"
    return (
        f"{network.parameters / 1e6:.2f} M parameters,"
        f" {network.multiply_adds / 1e9:.2f} G multiply-adds an image"
    )


def print_variant(described: VariantDescription) -> None:
    """Print what a variant costs, and what the deploy form does to it."""
    network = described.network
    console = printer()
    console.print(
        facts(
            {
                "network": f"{network.title} to {network.task}"
                f" {network.num_classes} classes at {described.size}",
                "parameters": f"{network.parameters:,}",
                "multiply-adds": f"{network.multiply_adds:,}",
                "widths": ", ".join(map(str, network.hrvit.widths)),
                "blocks": ", ".join(
                    "+".join(map(str, depths)) for depths in network.hrvit.blocks
                ),
            }
        )
    )
    rows = [[r.name, "on" if r.default else "off", r.summary] for r in described.rewrites]
    console.print(columns(["rewrite", "default", "what it does"], rows))


def print_diagnosis(report: Diagnosis) -> None:
    """Print what is installed and what works."""
    marks = {"ok": "ok", "missing": "-", "broken": "BROKEN"}
    console = printer()
    for heading, findings in (
        ("library", (*report.libraries, report.gpu)),
        ("workflow", report.roads),
    ):
        rows = [[f.name, marks[f.status], f.detail, f.mend] for f in findings]
        console.print(columns([heading, "", "found", "to mend"], rows))
    console.print("the main road is open" if report.ok else "the main road is BROKEN")
