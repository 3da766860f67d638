"""An artefact's description comes from its sidecar and its files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from support import small_artefacts

from hrvit_deploy.artefact import Engine, Graph, Kind, plain
from hrvit_deploy.report.inspect import describe


def test_a_graph_is_told_with_its_most_frequent_operators_first(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    told = describe(made)
    assert list(told.operators.items()) == [
        ("Mul", 7),
        ("Flatten", 1),
        ("GlobalAveragePool", 1),
    ]
    assert told.nodes == 9
    assert told.layers == {}
    assert told.file_bytes == made.path.stat().st_size > 100
    assert [(link.kind, link.path) for link in told.chain] == [
        ("onnx", "small.onnx"),
        ("checkpoint", "weights.pth"),
    ]
    assert told.chain[0].sha256 == made.manifest.sha256
    assert json.loads(json.dumps(plain(told)))["network"]["variant"]["name"] == "b1"


def test_weights_beside_the_graph_are_counted(tmp_path: Path) -> None:
    (tmp_path / "small.data").write_bytes(b"\0" * 321)
    graph = Graph(20, {"Conv": 1}, external_data={"small.data": "beef"})
    assert describe(small_artefacts.artefact(tmp_path, graph=graph)).external_bytes == 321


def test_a_plan_is_told_by_its_layers(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    layers = {"float32": 2, "float16": 80}
    engine = Engine("tensorrt-rtx", "1.7", layers, {"float16": 20}, 1000, 1.5)
    graph = Graph(20, {"Conv": 1}, external_data={"small.data": "beef"})
    manifest = replace(made.manifest, kind=Kind.PLAN, engine=engine, graph=graph)
    told = describe(replace(made, manifest=manifest))
    assert list(told.layers) == ["float16", "float32"]
    assert told.operators == {}
    assert told.external_bytes == 0
    assert told.graph is graph


def test_nothing_heavy_is_needed(tmp_path: Path) -> None:
    made = small_artefacts.artefact(tmp_path)
    code = f"""
import sys
for name in ("onnx", "torch", "onnxruntime", "tensorrt", "matplotlib"):
    sys.modules[name] = None
from pathlib import Path
from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.report.inspect import describe
print(describe(open_artefact(Path({str(made.path)!r}))).nodes)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "9", done.stderr
