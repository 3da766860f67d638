"""The HRViT backbone: a stem, then six modules of fusion and stage.

Source: "Multi-Scale High-Resolution Vision Transformer for Semantic Segmentation",
arXiv 2111.01236, section 3 and figure 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.model.layers import (
    Block,
    MapSize,
    PatchEmbed,
    Stem,
    tokens_to_map,
)
from hrvit_deploy.model.variants import BRANCHES_PER_MODULE, Variant


def _downsample(in_channels: int, channels: int, steps: int) -> nn.Sequential:
    stride = 2**steps
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            in_channels,
            stride + 1,
            stride=stride,
            padding=stride // 2,
            groups=in_channels,
            bias=False,
        ),
        nn.BatchNorm2d(in_channels),
        nn.Conv2d(in_channels, channels, 1),
        nn.BatchNorm2d(channels),
    )


def _upsample(in_channels: int, channels: int, steps: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1),
        nn.BatchNorm2d(channels),
        nn.Upsample(scale_factor=2**steps, mode="nearest"),
    )


class Fusion(nn.Module):
    """Every output map is the GELU of the sum of all inputs brought to its size."""

    def __init__(self, in_widths: Sequence[int], out_widths: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(self._path(i, j, in_widths[j], out) for j in range(len(in_widths)))
            for i, out in enumerate(out_widths)
        )

    @staticmethod
    def _path(i: int, j: int, in_channels: int, channels: int) -> nn.Module:
        if i == j:
            return nn.Identity()
        if j < i:
            return _downsample(in_channels, channels, i - j)
        return _upsample(in_channels, channels, j - i)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        fused = []
        for paths in self.blocks:
            assert isinstance(paths, nn.ModuleList)
            total = paths[0](maps[0])
            for path, features in zip(paths[1:], maps[1:], strict=True):
                total = total + path(features)
            fused.append(F.gelu(total))
        return fused


class Stage(nn.Module):
    """Per branch: patch embedding, transformer blocks, a final norm.

    Attributes:
        sizes: Sizes of the branches' maps where they are known beforehand; None reads
            them from the maps.
        to_map: How tokens become a map at the end.
    """

    sizes: tuple[MapSize, ...] | None = None
    to_map: Callable[[Tensor, int, MapSize], Tensor] = staticmethod(tokens_to_map)

    def __init__(
        self,
        variant: Variant,
        in_widths: Sequence[int],
        depths: Sequence[int],
    ) -> None:
        super().__init__()
        self.widths = widths = variant.widths[: len(depths)]
        self.patch_embed = nn.ModuleList(map(PatchEmbed, in_widths, widths))
        self.branches = nn.ModuleList(
            nn.ModuleList(
                Block(
                    widths[b],
                    variant.head_dim,
                    variant.windows[b],
                    variant.mlp_ratios[b],
                )
                for _ in range(depth)
            )
            for b, depth in enumerate(depths)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width) for width in widths)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [self.run_branch(index, features) for index, features in enumerate(maps)]

    def run_branch(self, index: int, features: Tensor) -> Tensor:
        """Pass one branch's ``B x C x H x W`` map through its blocks."""
        size = self.sizes[index] if self.sizes else MapSize(*features.shape[2:])
        tokens = self.patch_embed[index](features, size)
        blocks = self.branches[index]
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            tokens = block(tokens, size)
        return self.to_map(self.norm[index](tokens), self.widths[index], size)


class HRViT(nn.Module):
    """The backbone: ``B x in_channels x H x W`` to maps at 1/4, 1/8, 1/16 and 1/32.

    Height and width must be multiples of 32, or the maps do not line up.
    """

    def __init__(self, variant: Variant, in_channels: int = 3) -> None:
        super().__init__()
        self.variant = variant
        self.stem = Stem(in_channels, variant.stem_width)
        features: list[nn.Module] = []
        widths: list[int] = [variant.stem_width]
        for depths, branches in zip(variant.blocks, BRANCHES_PER_MODULE, strict=True):
            fused = widths + list(variant.widths[len(widths) : branches])
            features += [Fusion(widths, fused), Stage(variant, fused, depths)]
            widths = list(variant.widths[:branches])
        self.features = nn.ModuleList(features)

    def extract(self, image: Tensor) -> list[Tensor]:
        """Compute the four maps, ``B x C_i x H/2^(i+2) x W/2^(i+2)``."""
        maps = [self.stem(image)]
        for module in self.features:
            maps = module(maps)
        return maps

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.extract(image)


def init_weights(module: nn.Module) -> None:
    """Initialise as the paper does; attention starts without effect."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.zeros_(module.weight)
