"""The Kronecker factors of DES as two dense products without transpositions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.deploy.sites import blocks
from hrvit_deploy.model.layers import DiversityShortcut
from hrvit_deploy.options import ImageSize


class DenseShortcut(nn.Module):
    """DES with its left factor as one ``C x C`` linear layer, ``kron(Wl, I)``.

    More multiply-adds than the factor itself, but no transposition on either side. The
    right factor stays a small product over the columns, where a reshape is enough.

    Attributes:
        tokens: Shape that tokens leave it in; any that holds them may come.
    """

    def __init__(self, shortcut: DiversityShortcut, count: int) -> None:
        """Take the factors of a shortcut for ``count`` tokens an image."""
        super().__init__()
        columns = shortcut.fold[1]
        left = shortcut.proj_left
        self.columns = columns
        self.channels = shortcut.channels
        self.tokens: tuple[int, ...] = (-1, count, self.channels)
        self.proj_right = shortcut.proj_right
        self.dense_left = nn.Linear(self.channels, self.channels).requires_grad_(
            requires_grad=False
        )
        eye = torch.eye(columns)
        self.dense_left.weight.copy_(torch.kron(left.weight.detach(), eye))
        self.dense_left.bias.copy_(left.bias.detach().repeat_interleave(columns))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens to tokens, ``B x N x C`` or as ``tokens`` says."""
        rows = tokens.reshape(-1, self.columns)
        folded = F.gelu(self.proj_right(rows)).reshape(self.tokens)
        projected: Tensor = self.dense_left(folded)
        return projected


def apply(network: nn.Module, size: ImageSize) -> int:
    """Write the left factor of every DES as one dense product."""
    changes = 0
    for block, (height, width) in blocks(network, size):
        if isinstance(block.des, DiversityShortcut):
            block.des = DenseShortcut(block.des, height * width)
            changes += 1
    return changes
