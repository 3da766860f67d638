"""The HRViT variants, as data (paper, table 1; arXiv 2111.01236)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from hrvit_deploy.errors import InputError, UsageError
from hrvit_deploy.options import Task

BRANCHES = 4
# Modules 1, 2, 3 and 5 add a branch; modules 4 and 6 keep the number they find.
BRANCHES_PER_MODULE = (1, 2, 3, 3, 4, 4)


def factorize(channels: int) -> tuple[int, int]:
    """Return rows and columns ``(k, p)`` into which DES folds a token of ``channels``.

    Both are as near to each other as a power of two for ``p`` allows (paper, section 3.4).
    """
    exponent = channels.bit_length() - 1
    columns: int = 2 ** (exponent - exponent // 2)
    return channels // columns, columns


@dataclass(frozen=True)
class Variant:
    """Widths and depths of one HRViT.

    Attributes:
        name: What the variant is called on the command line and in sidecars.
        widths: Channels per branch, from 1/4 to 1/32 of the image.
        head_dim: Channels of one attention head; halves every width.
        mlp_ratios: Expansion of MixCFN per branch.
        windows: Rows (or columns) of an attention stripe per branch.
        blocks: Blocks per branch for each of the six modules.
        decoder_width: Channels of the segmentation head.
        stem_width: Channels after the stem.
        classifier_widths: Inner widths of the classifier's bottlenecks, per branch;
            each expands four times.
        classifier_features: Channels pooled before the last linear layer.
    """

    name: str
    widths: tuple[int, int, int, int]
    head_dim: int
    mlp_ratios: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    blocks: tuple[tuple[int, ...], ...]
    decoder_width: int
    stem_width: int = 64
    classifier_widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    classifier_features: int = 2048

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name):
            raise UsageError(
                f"{self.name!r} cannot name a variant",
                "files are named after it: take letters, digits, dots and dashes",
            )
        branches = tuple(len(depths) for depths in self.blocks)
        if branches != BRANCHES_PER_MODULE:
            raise UsageError(
                f"variant {self.name!r}: blocks has {branches} entries per module,"
                f" expected {BRANCHES_PER_MODULE}",
                "give the blocks of each branch for all six modules, as in model/variants.py",
            )
        numbers = (*self.widths, *self.mlp_ratios, *self.windows, *sum(self.blocks, ()))
        scalars = (self.head_dim, self.decoder_width, self.classifier_features)
        if min(*numbers, *scalars, *self.classifier_widths) < 1 or self.stem_width < 2:
            raise UsageError(
                f"variant {self.name!r} has a width, depth or window below 1",
                "every number of a variant counts something: give at least 1",
            )
        for width in self.widths:
            rows, columns = factorize(width)
            if rows * columns != width:
                raise UsageError(
                    f"variant {self.name!r}: DES folds width {width} into columns of"
                    f" {columns}, which do not divide it",
                    f"take {rows * columns} or {(rows + 1) * columns}",
                )
            half = width // 2
            if width % 2 or (half >= self.head_dim and half % self.head_dim):
                raise UsageError(
                    f"variant {self.name!r}: width {width} does not split into two halves"
                    f" of heads {self.head_dim} wide",
                    "make every width a multiple of twice head_dim, or narrower than that",
                )


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            name="b1",
            widths=(32, 64, 128, 256),
            head_dim=32,
            mlp_ratios=(4, 4, 4, 4),
            windows=(1, 2, 7, 7),
            blocks=((1,), (1, 1), (1, 1, 6), (1, 1, 6), (1, 1, 6, 2), (1, 1, 2, 2)),
            decoder_width=256,
        ),
        Variant(
            name="b2",
            widths=(48, 96, 240, 384),
            head_dim=24,
            mlp_ratios=(2, 3, 3, 3),
            windows=(1, 2, 7, 7),
            blocks=((1,), (1, 1), (1, 1, 6), (1, 1, 6), (1, 1, 6, 2), (1, 1, 6, 2)),
            decoder_width=256,
        ),
        Variant(
            name="b3",
            widths=(64, 128, 256, 512),
            head_dim=32,
            mlp_ratios=(2, 2, 2, 2),
            windows=(1, 2, 7, 7),
            blocks=((1,), (1, 1), (1, 1, 6), (1, 1, 6), (1, 1, 6, 3), (1, 1, 6, 3)),
            decoder_width=768,
        ),
    )
}
"""The variants of the paper (table 1) by name: b1, b2 and b3."""


def load_variant(name: str) -> Variant:
    """Load the variant of that name, or the one described in a ``.toml`` or ``.json`` file.

    Raises:
        UsageError: The name is not in the table, or the numbers do not fit together.
        InputError: The file cannot be read as a variant.
    """
    path = Path(name)
    if path.suffix not in (".toml", ".json"):
        if name not in VARIANTS:
            raise UsageError(
                f"unknown variant {name!r}; there are {', '.join(VARIANTS)}",
                "name one of them, or give a .toml file with the fields of Variant in"
                " hrvit_deploy/model/variants.py",
            )
        return VARIANTS[name]
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text) if path.suffix == ".toml" else msgspec.json.decode(text)
        variant = msgspec.convert(table, Variant)
    except OSError as error:
        raise InputError(
            f"cannot read the variant file {name}: {error.strerror}", "check the path"
        ) from error
    except (tomllib.TOMLDecodeError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(
            f"{name} does not describe a variant: {error}",
            f"give its {', '.join(field.name for field in fields(Variant))}",
        ) from error
    unknown = table.keys() - {field.name for field in fields(Variant)}
    if unknown:
        raise InputError(
            f"{name} has a field that no variant has: {', '.join(sorted(unknown))}",
            f"the fields are {', '.join(field.name for field in fields(Variant))}",
        )
    return variant


@dataclass(frozen=True)
class NetworkSpec:
    """A network to load, said without PyTorch.

    Attributes:
        variant: From the table or a file; None takes the checkpoint's, or b1 without one.
        task: None takes the checkpoint's, or classification without one.
        checkpoint: None gives seeded random weights.
        num_classes: None takes the checkpoint's, or the task's usual number.
        seed: Of random weights.
        entry: Where in the checkpoint the weights are; None to find out.
        ignore_unexpected: Whether weights that the network has no place for are left out.
    """

    variant: Variant | None = None
    task: Task | None = None
    checkpoint: Path | None = None
    num_classes: int | None = None
    seed: int = 0
    entry: str | None = None
    ignore_unexpected: bool = False
