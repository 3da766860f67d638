"""All that an artefact's sidecar and its files tell, without opening the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hrvit_deploy.artefact import (
    Artefact,
    Engine,
    Gate,
    Graph,
    Network,
    Origin,
    Parity,
    Preparation,
    Quantization,
    Source,
    TensorInfo,
)
from hrvit_deploy.verdict import Verdict, verdict_of


@dataclass(frozen=True)
class Description:
    """An artefact, described.

    Attributes:
        file_bytes: Of the artefact itself.
        external_bytes: Of weights kept in files beside an ONNX graph.
        operators: Type to count, most frequent first; empty for a plan.
        nodes: How many operators that is.
        layers: Type of a plan's layers to their number; empty for a graph.
        verdict: The one on all that was measured of it.
        origin: Of a graph that another tool wrote, where it came from.
        chain: This file and everything it was made from, with hashes, nearest first.
    """

    path: str
    kind: str
    precision: str
    network: Network
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    output_format: str
    preparation: Preparation
    file_bytes: int
    external_bytes: int
    operators: dict[str, int]
    nodes: int
    layers: dict[str, int]
    graph: Graph | None
    engine: Engine | None
    chain: tuple[Source, ...]
    verdict: Verdict
    parity: Parity | None
    quantization: Quantization | None
    gate: Gate | None
    origin: Origin | None
    options: dict[str, Any]
    versions: dict[str, str]


def describe(artefact: Artefact) -> Description:
    """Describe an artefact, without onnx and TensorRT.

    Args:
        artefact: As :func:`hrvit_deploy.artefact.open_artefact` gives it, checked.
    """
    manifest = artefact.manifest
    graph, engine = manifest.graph, manifest.engine
    # A plan's sidecar keeps what its graph held; its operators are not the plan's.
    own_graph = graph if engine is None else None
    operators = _by_count(own_graph.nodes) if own_graph else {}
    external = own_graph.external_data if own_graph else {}
    return Description(
        path=str(artefact.path),
        kind=str(manifest.kind),
        precision=str(manifest.precision),
        network=manifest.network,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        output_format=str(manifest.output_format),
        preparation=manifest.preparation,
        file_bytes=artefact.path.stat().st_size,
        external_bytes=sum(artefact.path.with_name(n).stat().st_size for n in external),
        operators=operators,
        nodes=sum(operators.values()),
        layers=_by_count(engine.layers) if engine else {},
        graph=graph,
        engine=engine,
        chain=artefact.as_source(),
        verdict=verdict_of(manifest),
        parity=manifest.parity,
        quantization=manifest.quantization,
        gate=manifest.gate,
        origin=manifest.origin,
        options=manifest.options,
        versions=manifest.versions,
    )


def _by_count(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
