"""MixCFN's linear layers as 1x1 convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.model.layers import MapSize, MixCFN
from hrvit_deploy.options import ImageSize


class ConvolvedFFN(nn.Module):
    """:class:`MixCFN` on a map from end to end, for maps of one size.

    Between two linear layers and the depthwise convolution of the original lie two
    transpositions of the widest tensors there are. Here one on each side moves a narrow
    one, and it is of four dimensions next to a convolution, which runtimes fold into the
    layout that the convolution wants.

    Attributes:
        tokens: Shape that tokens leave it in; any that holds them may come.
    """

    def __init__(self, ffn: MixCFN, size: MapSize) -> None:
        super().__init__()
        self.size = size
        self.channels = ffn.fc2.out_features
        self.tokens: tuple[int, ...] = (-1, size.height * size.width, self.channels)
        self.fc1 = convolution(ffn.fc1)
        self.conv = ffn.conv
        self.fc2 = convolution(ffn.fc2)

    def forward(self, tokens: Tensor, size: MapSize) -> Tensor:  # noqa: ARG002
        """Map tokens to tokens, ``B x N x C`` or as ``tokens`` says."""
        grid = tokens.reshape(-1, *self.size, self.channels).permute(0, 3, 1, 2)
        projected: Tensor = self.fc2(F.gelu(self.conv(self.fc1(grid))))
        return projected.permute(0, 2, 3, 1).reshape(self.tokens)


def convolution(linear: nn.Linear) -> nn.Conv2d:
    """Make the 1x1 convolution that is that linear layer at every cell."""
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.requires_grad_(requires_grad=False)
    conv.weight.copy_(linear.weight[:, :, None, None])
    assert conv.bias is not None
    conv.bias.copy_(linear.bias)
    return conv


def apply(network: nn.Module, size: ImageSize) -> int:
    """Run MixCFN as convolutions, without transposing what lies between its layers."""
    changes = 0
    for block, map_size in blocks(network, size):
        if isinstance(block.ffn, MixCFN):
            block.ffn = ConvolvedFFN(block.ffn, map_size)
            changes += 1
    return changes
