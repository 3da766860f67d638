"""Parses an ONNX file into a strongly typed TensorRT network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hrvit_deploy.bindings.log import Log, logger
from hrvit_deploy.bindings.tensorrt_ import TITLE
from hrvit_deploy.errors import BuildError
from hrvit_deploy.foreign.quantized import quantization_hint
from hrvit_deploy.options import Backend

EXPORT_AGAIN = "make the graph again with hrvit-deploy export"


@dataclass(frozen=True)
class Parsed:
    """A network ready to build.

    Attributes:
        builder: Makes configurations and plans.
        network: The layers, each typed as its ONNX node is.
        parser: Owns the weights the network points to, so it must live as long as that.
    """

    builder: Any
    network: Any
    parser: Any


def parse(trt: ModuleType, path: Path, log: Log, backend: Backend) -> Parsed:
    """Read an ONNX file and the external data beside it.

    Args:
        trt: The backend's module.
        path: The ``.onnx`` file.
        log: The library's messages meanwhile.
        backend: The backend, for its name in messages.

    Raises:
        BuildError: The parser refused the graph; the message names the ONNX node.
    """
    builder = trt.Builder(logger(trt))
    # Types come from the graph alone; TensorRT 11 knows no other networks.
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse_from_file(str(path)):
        raise refusal(trt, parser, path, log, backend)
    if not network.num_outputs:
        raise BuildError(f"{path} holds a graph without outputs", EXPORT_AGAIN)
    return Parsed(builder, network, parser)


def refusal(trt: ModuleType, parser: Any, path: Path, log: Log, backend: Backend) -> BuildError:
    """Return the error of a refused graph, which names the first node with an error.

    The hint is for what is wrong: a graph that another tool quantized is made again there.
    """
    elsewhere = quantization_hint(path)
    again = elsewhere or EXPORT_AGAIN
    if not parser.num_errors:
        return BuildError(f"{path} cannot be parsed: {log.error_text()}", again)
    error = parser.get_error(0)
    reason = plain_reason(error.desc())
    title = TITLE[backend]
    if error.node() < 0:
        return BuildError(f"{title} cannot read {path}: {reason}", again)
    node = f"{error.node_operator()} node {error.node_name() or f'number {error.node()}'!r}"
    if error.code() == trt.ErrorCode.UNSUPPORTED_NODE or "Plugin not found" in reason:
        return BuildError(
            f"{title} has no {error.node_operator()} operator: {node} of {path}",
            elsewhere
            or "export with another --opset, or without the rewrite that made the node"
            " (--without NAME)",
        )
    return BuildError(f"{title} refuses the {node} of {path}: {reason}", again)


def plain_reason(description: str) -> str:
    """Return the parser's message on one line, without the echoes of an absent driver."""
    lines = [line.strip() for line in description.splitlines()]
    informative = [line for line in lines if line and "catchCudaError" not in line]
    return " ".join(informative) or "no reason given"
