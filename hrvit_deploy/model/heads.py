"""What turns the backbone's four maps into class scores (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrvit_deploy.model.hrvit import HRViT, init_weights
from hrvit_deploy.model.layers import MapSize
from hrvit_deploy.model.variants import Variant

EXPANSION = 4


class Bottleneck(nn.Module):
    """A residual bottleneck with a projected shortcut."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(features)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        return F.relu(self.bn3(self.conv3(hidden)) + self.downsample(features))


class ClassifierHead(nn.Module):
    """From the finest map down to the coarsest, then pooled and classified."""

    def __init__(self, variant: Variant, num_classes: int) -> None:
        super().__init__()
        expanded = [width * EXPANSION for width in variant.classifier_widths]
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(channels, width))
            for channels, width in zip(variant.widths, variant.classifier_widths, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(fine, coarse, 3, stride=2, padding=1),
                nn.BatchNorm2d(coarse),
                nn.ReLU(),
            )
            for fine, coarse in pairwise(expanded)
        )
        self.final_layer = nn.Sequential(
            nn.Conv2d(expanded[-1], variant.classifier_features, 1),
            nn.BatchNorm2d(variant.classifier_features),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(variant.classifier_features, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        pooled = self.incre_modules[0](maps[0])
        for increase, down, features in zip(
            self.incre_modules[1:], self.downsamp_modules, maps[1:], strict=True
        ):
            pooled = increase(features) + down(pooled)
        scores: Tensor = self.classifier(self.final_layer(pooled).mean(dim=(2, 3)))
        return scores


class ConvModule(nn.Module):
    """A 1x1 convolution, with BatchNorm and ReLU if asked (mmsegmentation's names)."""

    def __init__(self, in_channels: int, channels: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=not norm)
        self.bn = nn.BatchNorm2d(channels) if norm else None

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.conv(features)
        return projected if self.bn is None else F.relu(self.bn(projected))


class SegmenterHead(nn.Module):
    """SegFormer's all-linear decoder: scores at a quarter of the image's size.

    Attributes:
        factors: How much smaller than the first each map is, where that is known
            beforehand; None reads their sizes.
    """

    factors: tuple[int, ...] | None = None

    def __init__(self, variant: Variant, num_classes: int) -> None:
        super().__init__()
        width = variant.decoder_width
        self.convs = nn.ModuleList(
            ConvModule(channels, width, norm=False) for channels in variant.widths
        )
        self.fusion_conv = ConvModule(width * len(variant.widths), width, norm=True)
        self.conv_seg = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        finest = MapSize(*maps[0].shape[2:])
        targets: Sequence[MapSize | int] = self.factors or [finest] * len(maps)
        # No name for the parts, lest they outlive their concatenation: b3's are 805 MB of an
        # image of 1024x1024.
        projected = torch.cat(
            [
                upsample(conv(features), target)
                for conv, features, target in zip(self.convs, maps, targets, strict=True)
            ],
            dim=1,
        )
        scores: Tensor = self.conv_seg(self.fusion_conv(projected))
        return scores


def upsample(features: Tensor, target: MapSize | int) -> Tensor:
    """Interpolate bilinearly to a size, or by a factor, as the segmenter resizes."""
    if target == 1:
        return features
    size, factor = (None, target) if isinstance(target, int) else (target, None)
    return F.interpolate(features, size, factor, mode="bilinear", align_corners=False)


class HRViTFeatures(HRViT):
    """The backbone alone: images to its four maps, ``B x C_i x H/2^(i+2) x W/2^(i+2)``."""

    def __init__(self, variant: Variant, in_channels: int = 3) -> None:
        super().__init__(variant, in_channels)
        self.apply(init_weights)


class HRViTClassifier(HRViT):
    """Backbone and classifier: images to ``B x classes`` logits."""

    def __init__(self, variant: Variant, num_classes: int, in_channels: int = 3) -> None:
        super().__init__(variant, in_channels)
        self.head = ClassifierHead(variant, num_classes)
        self.apply(init_weights)

    def scores(self, image: Tensor) -> Tensor:
        """Compute ``B x classes`` logits."""
        logits: Tensor = self.head(self.extract(image))
        return logits

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        return self.scores(image)


class HRViTSegmenter(nn.Module):
    """Backbone and segmenter: images to ``B x classes x H x W`` logits.

    Attributes:
        factor: How much smaller than the image its scores are, where that is known
            beforehand; None reads the image's size.
    """

    factor: int | None = None

    def __init__(self, variant: Variant, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.backbone = HRViT(variant, in_channels)
        self.decode_head: nn.Module = SegmenterHead(variant, num_classes)
        self.apply(init_weights)

    def scores(self, image: Tensor) -> Tensor:
        """Compute ``B x classes x H/4 x W/4`` logits."""
        logits: Tensor = self.decode_head(self.backbone.extract(image))
        return logits

    def forward(self, image: Tensor) -> Tensor:
        return upsample(self.scores(image), self.factor or MapSize(*image.shape[2:]))
