"""From PyTorch to ONNX by tracing."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from hrvit_deploy.artefact import TensorInfo
from hrvit_deploy.deploy.signature import BATCH, example_input
from hrvit_deploy.errors import ExportError

# The newest opset that PyTorch's tracer writes; onnx converts to newer ones.
TRACER_OPSET = 20


def trace(
    network: nn.Module,
    path: Path,
    input_info: TensorInfo,
    output_info: TensorInfo,
    opset: int,
    *,
    others: tuple[TensorInfo, ...] = (),
) -> None:
    """Write the network's graph, traced once over zeros.

    The tracer, rather than ``torch.export``, because it is exact here, takes an eighth
    of the time, and writes the opset it is asked for; nothing in the inference form
    branches on values, which is all a trace could miss.

    Args:
        network: In evaluation mode.
        path: Where to.
        input_info: The input's name and shape.
        output_info: The output's name and shape.
        opset: At most :data:`TRACER_OPSET`.
        others: Names and shapes of further outputs.

    Raises:
        ExportError: PyTorch cannot write the graph.
    """
    returned = (output_info, *others)
    dynamic = {
        info.name: {0: BATCH} for info in (input_info, *returned) if info.batch is None
    } or None
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # That the tracer is the older of two, and that shapes become constants.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (example_input(input_info),),
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=[input_info.name],
                output_names=[info.name for info in returned],
                dynamic_axes=dynamic,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise ExportError(
            f"PyTorch cannot export the graph: {str(error).splitlines()[0]}",
            "try another --opset, or leave out a rewrite with --without NAME",
        ) from error
