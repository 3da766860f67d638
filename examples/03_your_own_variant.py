"""A variant of your own, what it costs, and its graph.

Usage: python examples/03_your_own_variant.py [--variant b1] [--out DIR]

Takes a variant and makes it a block shallower where it is deepest.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from hrvit_deploy import (
    ExportOptions,
    ImageSize,
    ImageSource,
    NetworkSpec,
    SilentProgress,
    export_network,
    load_network,
    load_variant,
)
from hrvit_deploy.report.variants import describe_variant

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--variant", default="b1")
parser.add_argument("--out", type=Path, default=Path())
arguments = parser.parse_args()

base = load_variant(arguments.variant)
deepest = max(depth for depths in base.blocks for depth in depths)
blocks = tuple(tuple(min(d, max(deepest - 1, 1)) for d in depths) for depths in base.blocks)
shallower = replace(base, name=f"{base.name}-shallow", blocks=blocks)

size = ImageSize(64, 96)
for variant in (base, shallower):
    cost = describe_variant(NetworkSpec(variant), size).network
    print(
        f"{variant.name}: {cost.parameters:,} parameters, {cost.multiply_adds:,} multiply-adds"
    )

trained = load_network(NetworkSpec(shallower, num_classes=10), SilentProgress())
graph = export_network(
    trained,
    ExportOptions(size),
    arguments.out / "export",
    ImageSource(limit=2),
    SilentProgress(),
)
print(graph.path)
