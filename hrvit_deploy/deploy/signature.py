"""What the graph takes and returns, put around the inference form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hrvit_deploy.artefact import Preparation, TensorInfo
from hrvit_deploy.model.heads import HRViTFeatures
from hrvit_deploy.model.network import Network
from hrvit_deploy.model.variants import Variant
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Task

INPUT_NAME = "image"
BATCH = "batch"
COLORS = 3


class Normalize(nn.Module):
    """``B x H x W x 3`` uint8 pixels to ``B x 3 x H x W`` normalised float32."""

    scale: Tensor
    shift: Tensor

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        mean, std = (torch.tensor(v).double() for v in (preparation.mean, preparation.std))
        self.register_buffer("scale", (1 / std).float().reshape(1, -1, 1, 1))
        self.register_buffer("shift", (-mean / std).float().reshape(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        # Cast first: TensorRT moves no uint8.
        return pixels.float().permute(0, 3, 1, 2) * self.scale + self.shift


class Signed(nn.Module):
    """A network with the input and output formats asked for.

    Any network of this package will do, trained or deployed, so that the reference and
    the graph pass through the same lines here.
    """

    def __init__(
        self, network: Network, preparation: Preparation, output_format: OutputFormat
    ) -> None:
        super().__init__()
        self.network = network
        self.output_format = output_format
        uint8 = preparation.format is InputFormat.UINT8_NHWC
        self.normalize = Normalize(preparation) if uint8 else None

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.normalize is not None:
            image = self.normalize(image)
        if isinstance(self.network, HRViTFeatures):
            return tuple(self.network.extract(image))
        if self.output_format is OutputFormat.LOGITS_QUARTER:
            return self.network.scores(image)
        logits: Tensor = self.network(image)
        if self.output_format is OutputFormat.PROBABILITIES:
            return logits.softmax(dim=1)
        if self.output_format is OutputFormat.CLASSMAP:
            return logits.argmax(dim=1).to(torch.uint8)
        return logits


def input_info(preparation: Preparation, batch: int | None) -> TensorInfo:
    """Name, shape, type and layout of the input."""
    height, width = preparation.size
    first = BATCH if batch is None else batch
    if preparation.format is InputFormat.UINT8_NHWC:
        return TensorInfo(INPUT_NAME, (first, height, width, COLORS), "uint8", "NHWC")
    return TensorInfo(INPUT_NAME, (first, COLORS, height, width), "float32", "NCHW")


def output_info(
    task: Task,
    output_format: OutputFormat,
    num_classes: int,
    size: ImageSize,
    batch: int | None,
) -> TensorInfo:
    """Name, shape, type and layout of the output."""
    first = BATCH if batch is None else batch
    name = "logits" if output_format is OutputFormat.LOGITS_QUARTER else str(output_format)
    if output_format is OutputFormat.CLASSMAP:
        return TensorInfo(name, (first, *size), "uint8", "NHW")
    if task is Task.CLASSIFY:
        return TensorInfo(name, (first, num_classes), "float32", "NC")
    if output_format is OutputFormat.LOGITS_QUARTER:
        size = ImageSize(size.height // 4, size.width // 4)
    return TensorInfo(name, (first, num_classes, *size), "float32", "NCHW")


def feature_infos(
    variant: Variant, size: ImageSize, batch: int | None
) -> tuple[TensorInfo, ...]:
    """Name, shape, type and layout of the backbone's four maps, the largest first."""
    first = BATCH if batch is None else batch
    return tuple(
        TensorInfo(
            f"features_{stage}",
            (first, width, size.height >> stage + 1, size.width >> stage + 1),
            "float32",
            "NCHW",
        )
        for stage, width in enumerate(variant.widths, 1)
    )


def example_input(info: TensorInfo) -> Tensor:
    """Return zeros to trace with: two images where the batch is dynamic, or it folds to one."""
    shape = [2 if extent == BATCH else int(extent) for extent in info.shape]
    return torch.zeros(shape, dtype=getattr(torch, info.dtype))
