"""HRViT-b1 built for real, by the builder that needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.errors import BuildError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import Backend, BuildOptions, ExportOptions, Precision
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import SilentProgress

pytestmark = pytest.mark.slow
PICTURES = ImageSource(limit=2)
PARAMETERS = 19_685_152


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    trained = stages.load(NetworkSpec(VARIANTS["b1"]), SilentProgress())
    folder = tmp_path_factory.mktemp("b1")
    return stages.export(trained, ExportOptions(), folder, PICTURES, SilentProgress())


@pytest.mark.parametrize(
    ("precision", "product", "bytes_per_weight"),
    [(Precision.FP32, "float32", 4), (Precision.FP16, "float16", 2)],
)
def test_engine_has_the_types_and_weights_asked_for(
    graph: Artefact, tmp_path: Path, precision: Precision, product: str, bytes_per_weight: int
) -> None:
    options = BuildOptions(precision, Backend.TENSORRT_RTX)

    plan = stages.build(graph, options, tmp_path, PICTURES, SilentProgress())

    engine = plan.manifest.engine
    assert engine is not None
    assert set(engine.products) == {product}
    assert engine.products[product] > 400
    floats = {name: n for name, n in engine.layers.items() if name.startswith("float")}
    assert max(floats, key=lambda name: floats[name]) == product
    # Folded norms leave the network, dense shortcuts and merged kernels come in.
    assert 0.95 < engine.weight_bytes / (PARAMETERS * bytes_per_weight) < 1.15
    assert plan.path.stat().st_size > engine.weight_bytes
    assert open_artefact(plan.path) == plan
    assert plan.manifest.sources[-1].sha256 == graph.manifest.sha256


def test_a_wrong_graph_is_refused_by_node(graph: Artefact, tmp_path: Path) -> None:
    import onnx

    from hrvit_deploy.artefact import record, sha256_of

    model = onnx.load(graph.path)
    broken = next(node for node in model.graph.node if node.op_type == "Conv")
    broken.input[1] = next(w.name for w in model.graph.initializer if len(w.dims) == 1)
    path = tmp_path / "broken.onnx"
    onnx.save(model, path)
    wrong = record(Artefact(path, graph.manifest), sha256=sha256_of(path))

    with pytest.raises(BuildError) as caught:
        stages.build(
            wrong,
            BuildOptions(Precision.FP32, Backend.TENSORRT_RTX),
            tmp_path,
            PICTURES,
            SilentProgress(),
        )

    assert broken.name in caught.value.message
    assert caught.value.hint
    assert not list(tmp_path.glob("*.plan"))
