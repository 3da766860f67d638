"""Segmentation heads that are not HRViT's, told by the names of their weights."""

from __future__ import annotations

import re
from collections.abc import Iterable

DECODE_HEAD = "decode_head."
# SegFormer's all-linear head, as the network has it.
OWN = re.compile(r"convs\.\d\.conv\.|fusion_conv\.|conv_seg\.")
# What the names of a head's parts begin with, and whose they are; the first that has all.
HEADS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("psp_modules", "fpn_convs"), "UPerNet"),
    (("psp_modules",), "PSPNet"),
    (("aspp_modules", "sep_bottleneck"), "DeepLabV3+"),
    (("aspp_modules",), "DeepLabV3"),
    (("scale_heads",), "Semantic FPN"),
    (("linear_fuse",), "SegFormer (of its own repository)"),
    (("object_context_block",), "OCRNet"),
    (("pixel_decoder",), "Mask2Former"),
    (("kernel_generate_head",), "K-Net"),
    (("hamburger",), "HamNet"),
    (("cls_emb",), "Segmenter"),
    (("up_convs",), "SETR"),
    (("pam",), "DANet"),
    (("cca",), "CCNet"),
    (("nl_block",), "NonLocal"),
    (("fcs",), "PointRend"),
    (("convs.0.bn", "fusion_conv"), "SegFormer with BatchNorm in its projections"),
    (("convs.0", "conv_seg"), "FCN"),
)


def foreign_head(names: Iterable[str]) -> str:
    """Return whose segmentation head it is, by which name; empty for HRViT's or none."""
    parts = [name.removeprefix(DECODE_HEAD) for name in names if name.startswith(DECODE_HEAD)]
    strange = [part for part in parts if not OWN.match(part)]
    whole = any(part.startswith("fusion_conv.") for part in parts)
    if not parts or (whole and not strange):
        return ""
    for beginnings, whose in HEADS:
        if all(any(part.startswith(begin) for part in parts) for begin in beginnings):
            telling = next(part for part in parts if part.startswith(beginnings[0]))
            return f"{whose}'s ({DECODE_HEAD}{telling})"
    return ""
