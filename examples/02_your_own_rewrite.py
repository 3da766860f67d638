"""A rewrite of your own in the deploy form, checked against the trained network.

Usage: python examples/02_your_own_rewrite.py [--variant b1]

The last LayerNorm of every branch feeds fusions alone. Here its scale is multiplied out of
sight where it is one everywhere, as after some trainings: a rewrite that often changes
nothing, and says so.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from hrvit_deploy import ImageSize, NetworkSpec, SilentProgress, load_network, load_variant
from hrvit_deploy.deploy.form import REWRITES, Rewrite, choose, deploy
from hrvit_deploy.deploy.sites import stages


def apply(network: nn.Module, size: ImageSize) -> int:  # noqa: ARG001
    """Drop the scale and shift of final norms that scale by one and shift by zero."""
    changes = 0
    for stage in stages(network):
        for index, norm in enumerate(stage.norm):
            assert isinstance(norm, nn.LayerNorm)
            identity = norm.elementwise_affine and bool(
                (norm.weight == 1).all() and (norm.bias == 0).all()
            )
            if identity:
                channels = norm.normalized_shape
                stage.norm[index] = nn.LayerNorm(channels, elementwise_affine=False).eval()
                changes += 1
    return changes


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--variant", default="b1")
arguments = parser.parse_args()

trained = load_network(NetworkSpec(load_variant(arguments.variant)), SilentProgress())
network = trained.network
with torch.no_grad():
    for stage in stages(network):
        stage.norm[0].weight.fill_(1)
        stage.norm[0].bias.zero_()

size = ImageSize(64, 96)
rewrites = choose(rewrites=(*REWRITES, Rewrite("plain-final-norms", apply)))
form = deploy(network, size, rewrites)
for name, places in form.changes.items():
    print(f"{name}: {places}")

image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    error = (form.network(image) - network(image)).abs().max().item()
print(f"off by {error:.1e}")
assert error < 1e-4
