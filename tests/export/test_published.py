"""Whole networks through the export stage: what stands in the graph, and what it answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support.networks import CLASSES, TINY, answer, golden_network, tiny

from hrvit_deploy.artefact import Artefact, Network, Preparation, Weights, open_artefact
from hrvit_deploy.deploy.form import choose, deploy
from hrvit_deploy.export.stage import Subject, export_onnx
from hrvit_deploy.images import prepare, samples, stack
from hrvit_deploy.model.layers import MASK_VALUE
from hrvit_deploy.model.network import Network as TorchNetwork
from hrvit_deploy.model.variants import VARIANTS, Variant
from hrvit_deploy.options import ExportOptions, ImageSize, Precision, Task
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.products import find_products
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

# Shapes at run time, values that decide, and norms that should have been folded.
UNWANTED = {
    "BatchNormalization",
    "ConstantOfShape",
    "Equal",
    "Expand",
    "If",
    "Loop",
    "NonZero",
    "Range",
    "ScatterND",
    "Shape",
    "Where",
}


def export(
    network: TorchNetwork,
    variant: Variant,
    task: Task,
    classes: int,
    options: ExportOptions,
    folder: Path,
) -> Artefact:
    """Deploy and export on photographs."""
    form = deploy(network, options.size, choose(options.without, options.extra))
    preparation = Preparation(options.size)
    subject = Subject(form, Network(variant, task, classes, Weights.RANDOM), preparation)
    batches = photographs(options.size, options.batch or 2)
    return export_onnx(subject, folder / "net.onnx", options, [batches], SilentProgress())


def photographs(
    size: ImageSize, count: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return stack(prepare(image.pixels, Preparation(size)) for image in samples(count, size))


def error_of(artefact: Artefact, network: TorchNetwork, size: ImageSize, batch: int) -> float:
    """Largest difference from eager on photographs, over the deviation of its answers."""
    images = photographs(size, batch)
    with OnnxRuntimeRunner(artefact.path, threads=1) as runner:
        (ours,) = runner.run({"image": images}).values()
    theirs = answer(network, torch.from_numpy(images)).numpy()
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / theirs.std())


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """The tiny classifier where both kinds of stripes need padding, any batch."""
    options = ExportOptions(ImageSize(160, 64), batch=None, without=("ragged-stripes",))
    folder = tmp_path_factory.mktemp("padded")
    network = tiny(Task.CLASSIFY)
    return export(network, TINY, Task.CLASSIFY, CLASSES, options, folder)


def test_the_graph_computes_no_shapes_and_takes_no_branches(padded: Artefact) -> None:
    assert padded.manifest.graph is not None
    assert padded.manifest.graph.simplified
    assert not UNWANTED & padded.manifest.graph.nodes.keys()
    assert padded.manifest.graph.nodes["LayerNormalization"] > 50


def test_masks_are_constants_of_the_stripes_that_need_them(padded: Artefact) -> None:
    model = onnx.load(padded.path)
    held = {weight.name: weight for weight in model.graph.initializer} | {
        node.output[0]: node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in held.items()}
    masks = {name for name, array in arrays.items() if (array == MASK_VALUE).any()}
    users = [node for node in model.graph.node if masks & set(node.input)]
    # One for each direction of the 4 blocks at 1/16 and the 2 at 1/32.
    assert [node.op_type for node in users] == ["Add"] * 12
    assert all((arrays[name] == 0).any() for name in masks)
    assert padded.manifest.graph is not None
    # Queries and values.
    assert padded.manifest.graph.nodes["Pad"] == 2 * 12


def test_weights_are_found_in_the_oldest_opset(padded: Artefact, tmp_path: Path) -> None:
    options = ExportOptions(ImageSize(160, 64), without=("ragged-stripes",), opset=17)
    oldest = export(tiny(Task.CLASSIFY), TINY, Task.CLASSIFY, CLASSES, options, tmp_path)
    kinds = [
        Counter(product.group for product in find_products(onnx.load(artefact.path)))
        for artefact in (padded, oldest)
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_photographs_get_the_eager_answer_at_any_batch(padded: Artefact, batch: int) -> None:
    assert error_of(padded, tiny(Task.CLASSIFY), ImageSize(160, 64), batch) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "task", "classes", "size"),
    [
        ("b1", Task.CLASSIFY, 1000, ImageSize(224, 224)),
        ("b2", Task.SEGMENT, 19, ImageSize(160, 224)),
        ("b3", Task.CLASSIFY, 1000, ImageSize(128, 96)),
    ],
)
def test_published_variants_export_within_1e_4(
    tmp_path: Path, variant: str, task: Task, classes: int, size: ImageSize
) -> None:
    network = golden_network(variant, task, classes)
    options = ExportOptions(size, batch=None)
    artefact = export(network, VARIANTS[variant], task, classes, options, tmp_path)
    assert open_artefact(artefact.path) == artefact
    assert artefact.manifest.graph is not None
    assert artefact.manifest.graph.simplified
    assert not UNWANTED & artefact.manifest.graph.nodes.keys()
    for batch in (1, 3):
        assert error_of(artefact, network, size, batch) < 1e-4


@pytest.mark.slow
def test_a_published_variant_exports_in_float16(tmp_path: Path) -> None:
    network, size = golden_network("b1", Task.CLASSIFY, 1000), ImageSize(224, 224)
    options = ExportOptions(size, precision=Precision.FP16)
    artefact = export(network, VARIANTS["b1"], Task.CLASSIFY, 1000, options, tmp_path)
    full = sum(parameter.numel() for parameter in network.parameters()) * 4
    assert artefact.path.stat().st_size < 0.6 * full
    assert error_of(artefact, network, size, 1) < 0.03
