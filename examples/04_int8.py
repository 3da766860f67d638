"""INT8 from Python: ranges from real images, a judged graph, an engine.

Usage: python examples/04_int8.py CHECKPOINT IMAGES DATA [--variant b1] [--size 256x256]

IMAGES is a folder to calibrate on, DATA a labelled set to judge by, laid out as ADE20K or
Cityscapes is. Needs no GPU: pip install 'hrvit-deploy[cpu,rtx]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hrvit_deploy import (
    Backend,
    BuildOptions,
    CalibrationOptions,
    ExportOptions,
    ImageSource,
    NetworkSpec,
    Precision,
    QualityCriteria,
    QuantizeOptions,
    SilentProgress,
    build_engine,
    calibrate_graph,
    export_network,
    load_network,
    load_variant,
    quantize_graph,
)
from hrvit_deploy.options import parse_size

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("checkpoint", type=Path)
parser.add_argument("images", type=Path)
parser.add_argument("data", type=Path)
parser.add_argument("--variant", default="b1")
parser.add_argument("--size", default="256x256")
parser.add_argument("--out", type=Path, default=Path())
parser.add_argument("--accept-parity", action="store_true", help="take what misses its gate")
arguments = parser.parse_args()
out: Path = arguments.out

progress, pictures = SilentProgress(), ImageSource(arguments.images, limit=4)
request = NetworkSpec(load_variant(arguments.variant), checkpoint=arguments.checkpoint)
trained = load_network(request, progress)
options = ExportOptions(size=parse_size(arguments.size))
graph = export_network(trained, options, out / "export", pictures, progress)

ranges = calibrate_graph(
    graph, arguments.images, CalibrationOptions(samples=64), out / "calib", progress
)
print(f"{ranges[0]}: {len(ranges[1].amax)} ranges from {ranges[1].images} images")

quantized = quantize_graph(
    graph,
    ranges,
    QuantizeOptions(Precision.INT8),
    QualityCriteria(arguments.data, pictures, accept=arguments.accept_parity),
    progress,
    rest=Precision.FP16,
    auto=True,
    folder=out / "export",
)
gate, how = quantized.manifest.gate, quantized.manifest.quantization
assert gate is not None
assert how is not None
print(f"{how.products} products in {how.precision}, {len(how.kept)} left in {how.rest}")
print(f"{gate.metric} {gate.candidate:.4f}, in float32 {gate.reference:.4f}: {gate.passed}")

building = BuildOptions(Precision.INT8, Backend.TENSORRT_RTX)
plan = build_engine(quantized, building, out / "engines", pictures, progress)
engine = plan.manifest.engine
assert engine is not None
print(f"{plan.path}: {engine.quantized_layers} layers in INT8")
print(f"{engine.quantized_bytes:,} of {engine.weight_bytes:,} bytes of weights in INT8")
