"""Maps to tokens and back by one transposition of four dimensions."""

from __future__ import annotations

from torch import Tensor, nn

from hrvit_deploy.deploy.sites import stages
from hrvit_deploy.model.layers import MapSize, PatchEmbed
from hrvit_deploy.options import ImageSize


class GridPatchEmbed(nn.Module):
    """:class:`PatchEmbed` that transposes its map before flattening it."""

    def __init__(self, embed: PatchEmbed) -> None:
        super().__init__()
        self.proj = embed.proj
        self.norm = embed.norm
        self.channels = embed.channels

    def forward(self, features: Tensor, size: MapSize) -> Tensor:
        """``B x C x H x W`` to ``B x N x C`` tokens, as the original does."""
        grid = self.proj(features).permute(0, 2, 3, 1)
        tokens: Tensor = self.norm(grid.reshape(-1, size.height * size.width, self.channels))
        return tokens


def grid_to_map(tokens: Tensor, channels: int, size: MapSize) -> Tensor:
    """``B x N x C`` tokens as a ``B x C x H x W`` map."""
    return tokens.reshape(-1, *size, channels).permute(0, 3, 1, 2)


def apply(network: nn.Module, size: ImageSize) -> int:  # noqa: ARG001
    """Transpose next to convolutions, in four dimensions, so that runtimes can fold it."""
    changes = 0
    for stage in stages(network):
        stage.to_map = grid_to_map
        for index, embed in enumerate(stage.patch_embed):
            if isinstance(embed, PatchEmbed):
                stage.patch_embed[index] = GridPatchEmbed(embed)
                changes += 1
    return changes
