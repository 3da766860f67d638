"""Graphs that TensorRT 8.5's parser reads.

It knows operators up to opset 17, less LayerNormalization, and Gelu came in opset 20
(onnx-tensorrt, branch 8.5-GA, docs/operators.md). Scales of quantization must be float32
there, so that a graph is float32 throughout, and the builder is told what to narrow.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.common.cases import Case
from benchmarks.gpu.batches import fix_batch
from benchmarks.gpu.candidates import Entry
from benchmarks.gpu.graphs import Prepared, export_as, export_options, form_name
from hrvit_deploy import graphs
from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.errors import ExportError
from hrvit_deploy.options import DEFAULT_GROUPS, Precision
from hrvit_deploy.quantization.calibration.ranges import Ranges
from hrvit_deploy.quantization.formats import FORMATS
from hrvit_deploy.quantization.products import choose_products, find_products
from hrvit_deploy.quantization.qdq import SCALE_OPSET, along, insert_qdq

OPSET = 17
NORM = "LayerNormalization"
# In a node's name: tensorrt8.cpp leaves it in float32.
FLOAT32 = "/float32/"
# What its parser imports of what graphs here are made of, as its operator list says.
KNOWN = frozenset(
    {
        "Add", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv",
        "DequantizeLinear", "Div", "Erf", "Expand", "Flatten", "Gather", "Gemm",
        "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "MatMul", "Mul", "Pad",
        "Pow", "QuantizeLinear", "ReduceMean", "Relu", "Reshape", "Resize", "ScatterND",
        "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tile",
        "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip


def graph_for_trt8(made: Prepared, case: Case, entry: Entry) -> Path:
    """The graph an entry runs in TensorRT 8.5; FP32 and FP16 share one.

    Raises:
        HrvitDeployError: It is not there and cannot be made, or has operators that are not
            known there.
    """
    suffix = f"-{entry.precision}" if entry.precision is Precision.INT8 else ""
    path = made.folder / f"{case.name}-{form_name(entry)}-trt8{suffix}.onnx"
    return made.file(path, lambda: _make(made, case, entry, path))


def _make(made: Prepared, case: Case, entry: Entry, path: Path) -> Artefact:
    traced = _traced(made, case, entry)
    model = with_weights(onnx.load(traced.path))
    if entry.precision is Precision.INT8:
        _, ranges = made.ranges(traced.path, case.size)
        model = quantized_at(model, ranges)
    readable = without_norms(model)
    unknown = sorted({node.op_type for node in readable.graph.node} - KNOWN)
    if unknown:
        raise ExportError(f"TensorRT 8.5 reads no {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        written = Path(folder) / path.name
        graphs.write_graph(readable, written)
        # Of the batch that is wanted, with a sidecar of its own.
        return fix_batch(replace(traced, path=written), case.batch, path)


def _traced(made: Prepared, case: Case, entry: Entry) -> Artefact:
    """The float32 graph of opset 17 as the package exports it."""
    from hrvit_deploy import trained

    name = f"{form_name(entry)}-opset{OPSET}"
    path = made.folder / f"{case.name}-{name}.onnx"
    if case.batch > 1:
        path = made.dynamic(case, name)
    options = export_options(case, entry, OPSET)
    network = trained.load(case.request)
    made.file(path, lambda: export_as(network, options, path, made.progress))
    return open_artefact(path)


def quantized_at(model: ModelProto, ranges: Ranges) -> ModelProto:
    """The float32 graph of opset 17 with its products in INT8, of the same opset.

    What is put in needs a newer opset for float16 scales and E4M3 alone, and neither is put
    in here: the graph passes for a newer one meanwhile, instead of being converted there
    and, with a loss, back.
    """
    labelled = copied(model)
    relabel(labelled, SCALE_OPSET)
    products = choose_products(find_products(labelled), DEFAULT_GROUPS)
    quantized = insert_qdq(labelled, products, ranges.amax, FORMATS[Precision.INT8])
    relabel(quantized, OPSET)
    return with_float_weights(quantized)


def with_weights(model: ModelProto) -> ModelProto:
    """The graph with its Constant nodes as initializers, where products look for weights.

    At this opset onnxsim leaves some weights of convolutions in such nodes.
    """
    held = copied(model)
    del held.graph.node[:]
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type != "Constant" or value is None:
            held.graph.node.append(node)
            continue
        tensor = held.graph.initializer.add()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
    return held


def with_float_weights(model: ModelProto) -> ModelProto:
    """The graph with a QuantizeLinear before each weight stored in INT8, which is float32 then.

    The values are the same: TensorRT 8 takes constants as real numbers, and quantizes them
    itself.
    """
    held = copied(model)
    weights = {tensor.name: tensor for tensor in held.graph.initializer}
    del held.graph.node[:]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            stored, scale = weights[node.input[0]], weights[node.input[1]]
            axis = next((int(a.i) for a in node.attribute if a.name == "axis"), None)
            values, scales = numpy_helper.to_array(stored), numpy_helper.to_array(scale)
            real = values.astype(np.float32) * along(scales, axis, values.ndim)
            quantizer = NodeProto()
            quantizer.CopyFrom(node)
            quantizer.op_type, quantizer.name = "QuantizeLinear", f"{node.name}/QuantizeLinear"
            stored.CopyFrom(numpy_helper.from_array(real, f"{node.input[0]}_real"))
            quantizer.input[0], quantizer.output[0] = stored.name, node.input[0]
            held.graph.node.append(quantizer)
        held.graph.node.append(node)
    return held


def copied(model: ModelProto) -> ModelProto:
    """A graph of one's own to change."""
    held = ModelProto()
    held.CopyFrom(model)
    return held


def relabel(model: ModelProto, opset: int) -> None:
    """Say that the graph is of that opset, and change nothing else."""
    for imported in model.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = opset


def without_norms(model: ModelProto) -> ModelProto:
    """The graph with each LayerNormalization spelled out, in nodes marked as float32."""
    spelled = copied(model)
    del spelled.graph.node[:]
    for node in model.graph.node:
        if node.op_type != NORM:
            spelled.graph.node.append(node)
            continue
        nodes, constants = spell_norm(node)
        spelled.graph.node.extend(nodes)
        spelled.graph.initializer.extend(constants)
    return spelled


def spell_norm(node: NodeProto) -> tuple[list[NodeProto], list[TensorProto]]:
    """A norm over the last axis as sums, products and a root, and the constant it adds.

    Raises:
        ExportError: It is over other axes.
    """
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("axis", -1) != -1:
        raise ExportError(f"{node.name} is a norm over more than the last axis")
    taken, scale = node.input[0], node.input[1]
    epsilon = f"{node.output[0]}_epsilon"
    value = np.array(attributes.get("epsilon", 1e-5), np.float32)
    nodes: list[NodeProto] = []

    def add(operator: str, inputs: list[str], step: str, **named: Any) -> str:
        name = f"{node.name}{FLOAT32}{step}"
        output = f"{node.output[0]}_{step}"
        nodes.append(helper.make_node(operator, inputs, [output], name, **named))
        return output

    mean = add("ReduceMean", [taken], "mean", axes=[-1])
    centred = add("Sub", [taken, mean], "centred")
    square = add("Mul", [centred, centred], "square")
    variance = add("ReduceMean", [square], "variance", axes=[-1])
    root = add("Sqrt", [add("Add", [variance, epsilon], "padded")], "root")
    here = add("Mul", [add("Div", [centred, root], "whitened"), scale], "scaled")
    if len(node.input) > 2 and node.input[2]:
        add("Add", [here, node.input[2]], "shifted")
    nodes[-1].output[0] = node.output[0]
    return nodes, [numpy_helper.from_array(value, epsilon)]
