"""Reads a graph from outside: whatever could harm or hang is refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from hrvit_deploy import graphs
from hrvit_deploy.artefact import (
    refuse_pointer,
)
from hrvit_deploy.errors import ArtefactError, ExportError
from hrvit_deploy.staging import is_file_name

# Domains of operators that onnxruntime carries; none of them is loaded from a file.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
MICROSOFT = "com.microsoft"
# Convolutions whose weights lie in blocks as wide as the registers of one CPU.
BLOCKED = "com.microsoft.nchwc"
# Nothing bounds how long these run.
LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
# The largest tensor that a graph may hold or make for one batch, in bytes: a hostile shape
# asks for more memory than there is.
MOST_BYTES = 16 << 30
AGAIN = "copy or download it again, or export it again with the tool that wrote it"


def read_graph(path: Path) -> ModelProto:
    """Read and check a graph, its large weights left in the files beside it.

    Raises:
        ArtefactError: It is no whole ONNX graph, names files that do not lie beside it, loops,
            has operators that no runtime here carries, or asks for too much memory.
    """
    model = _parse(path)
    try:
        _check(path, model)
    except UnicodeDecodeError as error:
        raise ArtefactError(f"{path} holds names that are no text", AGAIN) from error
    return model


def _are_text(model: ModelProto) -> bool:
    """Return whether every name is text: protobuf hands out bytes that are no UTF-8 as such."""
    names: list[object] = [model.producer_name, model.producer_version]
    for node in nodes_of(model):
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
    graph = model.graph
    named = (*graph.input, *graph.output, *graph.value_info, *tensors_of(model))
    names += [item.name for item in named]
    return all(isinstance(name, str) for name in names)


def _check(path: Path, model: ModelProto) -> None:
    if not _are_text(model):
        raise ArtefactError(f"{path} holds names that are no text", AGAIN)
    for node in nodes_of(model):
        if node.op_type in LOOPS and node.domain in DOMAINS:
            raise ArtefactError(
                f"{path} has a {node.op_type}, and how long it runs nobody can tell",
                "export the network without loops, for one size",
            )
    _check_age(path, model)
    _check_domains(path, model)
    _check_external(path, model)
    _check_sizes(path, model)
    try:
        graphs.check_graph(path)
    except ExportError as error:
        raise ArtefactError(error.message, AGAIN) from error


def _parse(path: Path) -> ModelProto:
    if path.suffix != ".onnx":
        raise ArtefactError(
            f"{path} is no .onnx", "give a graph; convert models of other formats to ONNX first"
        )
    if not path.is_file():
        raise ArtefactError(f"there is no {path}", "check the path")
    try:
        refuse_pointer(path)
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ArtefactError(
            f"cannot read {path}: {error.strerror}", "check its permissions"
        ) from error
    except (DecodeError, ValueError) as error:
        raise ArtefactError(f"{path} is truncated, or no ONNX graph", AGAIN) from error
    if not model.graph.node:
        raise ArtefactError(f"{path} is empty, or no ONNX graph", AGAIN)
    return model


def nodes_of(model: ModelProto) -> Iterator[NodeProto]:
    """Yield every node, also those in branches and in functions."""
    waiting: list[GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [
                    *attribute.graphs,
                    *([attribute.g] if _holds_graph(attribute) else []),
                ]


def _holds_graph(attribute: AttributeProto) -> bool:
    return attribute.type == AttributeProto.GRAPH


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every constant tensor, wherever it stands."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [
                    *attribute.graphs,
                    *([attribute.g] if _holds_graph(attribute) else []),
                ]
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def _check_age(path: Path, model: ModelProto) -> None:
    """Refuse a graph of a later version of ONNX than this onnx reads."""
    ages = (
        ("IR version", model.ir_version, onnx.IR_VERSION),
        ("opset", graphs.opset_of(model), graphs.NEWEST_OPSET),
    )
    for what, stored, newest in ages:
        if stored > newest:
            raise ArtefactError(
                f"{path} is of {what} {stored}, and onnx {onnx.__version__} reads up to"
                f" {newest}",
                "update onnx, or write the graph again in an older opset; 20 serves every"
                " runtime here",
            )


def _check_domains(path: Path, model: ModelProto) -> None:
    own = {function.domain for function in model.functions}
    for node in nodes_of(model):
        if node.domain == BLOCKED:
            raise ArtefactError(
                f"{path} was optimized by onnxruntime for the CPU it was written on, and"
                " fails on others",
                "write it with ORT_ENABLE_EXTENDED in place of ORT_ENABLE_ALL, or give the"
                " graph it was made from",
            )
        known = node.domain in DOMAINS or node.domain.startswith(MICROSOFT)
        if not known and node.domain not in own:
            raise ArtefactError(
                f"{path} has the operator {node.op_type} of {node.domain!r}, which no runtime"
                " here carries",
                "export the network without operators of its own",
            )


def external_names(model: ModelProto) -> list[str]:
    """Return the names of the files that hold a graph's large weights, as it gives them."""
    names: dict[str, None] = {}
    for tensor in tensors_of(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            given = {entry.key: entry.value for entry in tensor.external_data}
            names[given.get("location", "")] = None
    return list(names)


def _check_external(path: Path, model: ModelProto) -> None:
    """Refuse weights that lie elsewhere than beside the graph."""
    for name in external_names(model):
        if not is_file_name(name):
            raise ArtefactError(
                f"{path} takes weights from {name!r}, which is no file beside it",
                "save it again with its weights in one file beside it: onnx.save(model, path,"
                " save_as_external_data=True)",
            )
        file = path.parent / name
        if not file.is_file():
            raise ArtefactError(
                f"there is no {file}, which holds weights of {path.name}",
                f"copy it beside {path.name}",
            )
        if not file.resolve().is_relative_to(path.parent.resolve()) or file == path:
            raise ArtefactError(
                f"{path} takes weights from {file}, which leads elsewhere",
                f"copy the file itself beside {path.name}",
            )


def _check_sizes(path: Path, model: ModelProto) -> None:
    """Refuse tensors that no machine has the memory for."""
    for tensor in tensors_of(model):
        _check_size(path, tensor.name, tuple(tensor.dims), tensor.data_type)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return  # too large for that, or invalid: what checks the graph says so
    for info in inferred.graph.value_info:
        kind = info.type.tensor_type
        dims = tuple(dim.dim_value or 1 for dim in kind.shape.dim)
        _check_size(path, info.name, dims, kind.elem_type)


def _check_size(path: Path, name: str, dims: tuple[int, ...], kind: int) -> None:
    # Four bytes an element, or as many as the type has where it is known.
    known = kind in onnx.helper.get_all_tensor_dtypes()
    width = onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize if known else 4
    if any(dim < 0 for dim in dims) or prod(dims) * width > MOST_BYTES:
        shape = " x ".join(map(str, dims))
        raise ArtefactError(
            f"{path} has a tensor of {shape} elements, {name}, for which there is no memory",
            AGAIN,
        )
