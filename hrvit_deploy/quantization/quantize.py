"""The stage itself: an ONNX artefact and its ranges in, a quantized one out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hrvit_deploy import graphs
from hrvit_deploy.artefact import (
    Artefact,
    Quantization,
    plain,
    sha256_of,
    write_sidecar,
)
from hrvit_deploy.errors import PrecisionError
from hrvit_deploy.options import Precision, QuantizeOptions
from hrvit_deploy.quantization.calibration.ranges import Ranges, check_fits
from hrvit_deploy.quantization.formats import FORMATS
from hrvit_deploy.quantization.products import choose_products, find_products
from hrvit_deploy.quantization.qdq import insert_qdq
from hrvit_deploy.staging import staging
from hrvit_deploy.verdict import inherited

FLOATS = (Precision.FP32, Precision.FP16)


def quantize_artefact(
    artefact: Artefact,
    ranges: Ranges,
    path: Path,
    options: QuantizeOptions,
    *,
    ranges_file: Path | None = None,
) -> Artefact:
    """Put QuantizeLinear and DequantizeLinear around the products of a float graph.

    Args:
        artefact: In float32 or float16; that type is kept by all that is not quantized.
        ranges: Of the float32 graph, this one or the one it was made from.
        path: ``NAME.onnx`` to write.
        options: Which products, and to what.
        ranges_file: Where the ranges lie; its hash goes into the sidecar.

    Raises:
        ArtefactError: The ranges are of another graph.
        PrecisionError: The graph is of another precision.
        UsageError: Nothing is left to quantize, or a name to keep is no product's.
    """
    manifest = artefact.manifest
    check_float(artefact)
    check_fits(ranges, artefact)
    model = graphs.read_named(artefact.path)
    products = choose_products(find_products(model), options.groups, options.keep)
    quantized = insert_qdq(model, products, ranges.amax, FORMATS[options.precision])
    with staging(path) as folder:
        written = folder / path.name
        graphs.write_graph(quantized, written)
        assert manifest.graph is not None
        graph = graphs.redescribed(manifest.graph, written, graphs.opset_of(quantized))
        changed = replace(
            manifest,
            sha256=sha256_of(written),
            precision=options.precision,
            versions=graphs.tool_versions(),
            options={**manifest.options, **plain(options), "opset": graph.opset},
            sources=artefact.as_source(),
            graph=graph,
            quantization=Quantization(
                precision=options.precision,
                rest=manifest.precision,
                products=len(products),
                groups=options.groups,
                kept=options.keep,
                method=ranges.method,
                images=ranges.images,
                images_sha256=ranges.images_sha256,
                random_data=ranges.random_data,
                ranges_sha256=sha256_of(ranges_file) if ranges_file else "",
            ),
            parity=None,
            gate=None,
            accepted=inherited(manifest),
        )
        write_sidecar(written, changed)
    return Artefact(path, changed)


def check_float(artefact: Artefact) -> None:
    """Refuse what cannot be quantized: plans, bfloat16, and what already is.

    Raises:
        PrecisionError: It is one of these.
    """
    manifest = artefact.manifest
    if manifest.graph is None or manifest.precision not in FLOATS:
        raise PrecisionError(
            f"{artefact.path} is a {manifest.precision} {manifest.kind}; only fp32 and fp16"
            " graphs can be quantized",
            "give the graph that hrvit-deploy export wrote",
        )
