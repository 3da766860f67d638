"""BatchNorm into the convolution or linear layer before it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from hrvit_deploy.model.heads import Bottleneck, ConvModule
from hrvit_deploy.model.layers import CrossShapedAttention, Stem
from hrvit_deploy.options import ImageSize

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def apply(network: nn.Module, size: ImageSize) -> int:  # noqa: ARG001
    """Fold every BatchNorm into the weights of the layer that feeds it.

    Exact in real numbers: running statistics make BatchNorm an affine map per channel.
    """
    changes = 0
    for module in network.modules():
        for layer, parent, name in _pairs(module):
            norm = getattr(parent, name)
            if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(norm, BatchNorm):
                fold(layer, norm)
                setattr(parent, name, nn.Identity())
                changes += 1
    return changes


def _pairs(module: nn.Module) -> list[tuple[nn.Module, nn.Module, str]]:
    """Yield layers directly followed by a norm, with the norm's parent and name."""
    match module:
        case Stem():
            return [(module.conv1, module, "bn1"), (module.conv2, module, "bn2")]
        case Bottleneck():
            return [
                (module.conv1, module, "bn1"),
                (module.conv2, module, "bn2"),
                (module.conv3, module, "bn3"),
            ]
        case ConvModule():
            return [(module.conv, module, "bn")]
        case CrossShapedAttention():
            return [(module.to_out[0], module, "attn_bn")]
        case nn.Sequential():
            return [(a, module, str(i + 1)) for i, (a, _) in enumerate(pairwise(module))]
        case _:
            return []


def fold(layer: nn.Conv2d | nn.Linear, norm: BatchNorm) -> None:
    """Give ``layer`` the weights and bias that make ``norm`` superfluous."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.double()
    shape = (-1, *[1] * (layer.weight.ndim - 1))
    layer.weight = _frozen(layer.weight.double() * scale.reshape(shape))
    layer.bias = _frozen((bias - norm.running_mean.double()) * scale + norm.bias.double())


def _frozen(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.float(), requires_grad=False)
