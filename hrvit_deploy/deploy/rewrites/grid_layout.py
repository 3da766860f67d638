"""Maps to tokens and back by one transposition of four dimensions."""

from __future__ import annotations

from torch import Tensor, nn

from hrvit_deploy.deploy.sites import map_sizes, stages
from hrvit_deploy.model.layers import MapSize, PatchEmbed
from hrvit_deploy.options import ImageSize


class GridPatchEmbed(nn.Module):
    """:class:`PatchEmbed` that transposes its map before flattening it.

    Attributes:
        tokens: Shape that tokens leave it in.
    """

    def __init__(self, embed: PatchEmbed, size: MapSize) -> None:
        super().__init__()
        self.proj = embed.proj
        self.norm = embed.norm
        self.tokens: tuple[int, ...] = (-1, size.height * size.width, embed.channels)

    def forward(self, features: Tensor, size: MapSize) -> Tensor:  # noqa: ARG002
        """Map ``B x C x H x W`` to tokens, ``B x N x C`` or as ``tokens`` says."""
        tokens: Tensor = self.norm(self.proj(features).permute(0, 2, 3, 1).reshape(self.tokens))
        return tokens


def grid_to_map(tokens: Tensor, channels: int, size: MapSize) -> Tensor:
    """Turn tokens of any shape into a ``B x C x H x W`` map."""
    return tokens.reshape(-1, *size, channels).permute(0, 3, 1, 2)


def apply(network: nn.Module, size: ImageSize) -> int:
    """Transpose next to convolutions, in four dimensions, so that runtimes can fold it."""
    changes = 0
    sizes = map_sizes(size)
    for stage in stages(network):
        stage.to_map = grid_to_map
        for index, embed in enumerate(stage.patch_embed):
            if isinstance(embed, PatchEmbed):
                stage.patch_embed[index] = GridPatchEmbed(embed, sizes[index])
                changes += 1
    return changes
