"""The road from Python: a checkpoint to a verified graph and an FP16 engine.

Usage: python examples/01_checkpoint_to_engine.py CHECKPOINT [--variant b1] [--size 512x512]

Needs no GPU: pip install 'hrvit-deploy[cpu,rtx]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hrvit_deploy import (
    Backend,
    BuildOptions,
    ExportOptions,
    ImageSource,
    NetworkSpec,
    Precision,
    SilentProgress,
    build_engine,
    export_network,
    load_network,
    load_variant,
)
from hrvit_deploy.options import parse_size

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("checkpoint", type=Path)
parser.add_argument("--variant", default="b1")
parser.add_argument("--size", default="512x512")
parser.add_argument("--out", type=Path, default=Path())
arguments = parser.parse_args()

# Silent keeps what it is told; give anything with start, note and warn to see progress.
progress = SilentProgress()
pictures = ImageSource(limit=4)  # crops of two photographs; Pictures(folder) takes your own

request = NetworkSpec(load_variant(arguments.variant), checkpoint=arguments.checkpoint)
trained = load_network(request, progress)
about = trained.described
print(f"{about.variant.name} to {about.task} {about.num_classes} classes")

options = ExportOptions(size=parse_size(arguments.size))
graph = export_network(trained, options, arguments.out / "export", pictures, progress)
parity = graph.manifest.parity
assert parity is not None
print(f"{graph.path}: off by {parity.max_abs:.1e} at most, passed: {parity.passed}")

building = BuildOptions(Precision.FP16, Backend.TENSORRT_RTX)
plan = build_engine(graph, building, arguments.out / "engines", pictures, progress)
engine = plan.manifest.engine
assert engine is not None
print(f"{plan.path}: products {engine.products}, {engine.weight_bytes:,} bytes of weights")
