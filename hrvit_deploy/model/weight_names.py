"""Which names of a state dict are the network's, under whatever its trainer put before them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# Parts of a name that wrappers put before it or in the middle of it: data parallelism, FSDP,
# activation checkpointing, torch.compile, DeepSpeed.
WRAPPERS = frozenset(
    (
        "module",
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
        "_forward_module",
    )
)
# Every HRViT has it, and no other network by that name.
ANCHOR = "stem.conv1.weight"
BACKBONE = "backbone."
BACKBONE_PARTS = ("stem.", "features.")
HEADS = ("head.", "decode_head.")
LAST_LAYERS = ("head.classifier.weight", "decode_head.conv_seg.weight")
# What trainers keep beside the weights that takes no part in inference.
BOOKKEEPING = re.compile(
    r"""
      (.*\.)?(total_ops|total_params|n_averaged)          # thop; AveragedModel
    | (.*\.)?num_batches_\w+
    | ema_.*                                              # mmcv's EMAHook
    | (criterions?|loss(es)?|loss_?(fn|func|function))(\..*)
    | (.*\.)?(auxiliary_heads?|aux_heads?)\..*
    | (data_)?preprocessor\..*
    | (pixel_|image_)?(mean|std)
    | (.*_)?metrics?(\..*)
    | (epoch|steps?|iter|global_step|decay|updates)
    """,
    re.VERBOSE,
)


def bare_name(name: str) -> str:
    """Return a parameter's name as it is in the backbone alone, or in its head."""
    return name.removeprefix(BACKBONE)


def unwrapped(name: str) -> str:
    """Return a name without the parts that wrappers put into it."""
    parts = name.split(".")
    return ".".join(part for part in parts if part not in WRAPPERS)


@dataclass(frozen=True)
class Names:
    """One network's names in a state dict.

    Attributes:
        label: What stands before all of them, without dots; empty for nothing.
        weights: Name of each weight in the network, to its name in the state dict.
        unexpected: Names that lie in the network and are not known.
        bookkeeping: Names that inference has no use for.
        twice: A weight that has two names.
        stripped: Prefixes and wrappers that were taken off.
    """

    label: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    unexpected: dict[str, str] = field(default_factory=dict)
    bookkeeping: tuple[str, ...] = ()
    twice: str = ""
    stripped: tuple[str, ...] = ()


def networks_in(names: Iterable[str]) -> list[Names]:
    """Find every HRViT among the names of a state dict."""
    clean = {name: unwrapped(name) for name in names}
    roots = sorted(set(_before(clean.values(), ANCHOR)))
    return [_sort(clean, root, [other for other in roots if other != root]) for root in roots]


def _before(names: Iterable[str], ending: str) -> Iterator[str]:
    for name in names:
        if name == ending or name.endswith(f".{ending}"):
            yield name.removesuffix(ending)


def _sort(clean: dict[str, str], root: str, others: list[str]) -> Names:
    """Sort the names into one network's, its trainer's and unknown ones."""
    parent = root.removesuffix(BACKBONE)
    bases = [root, parent]
    if not others:
        # A head beside the backbone, as where a trainer's module holds the two.
        for ending in LAST_LAYERS:
            bases += [base for base in _before(clean.values(), ending) if base not in bases]
    inside = min(bases, key=len)
    # Networks beside this one, and networks within its own prefix.
    foreign = tuple(
        other
        for other in (root.removesuffix(BACKBONE) for root in others)
        if not parent.startswith(other)
    )
    weights: dict[str, str] = {}
    unexpected: dict[str, str] = {}
    bookkeeping: list[str] = []
    twice = ""
    for name, plain in clean.items():
        if foreign and plain.startswith(foreign):
            continue
        bare = _bare(plain, root, bases)
        relative = plain.removeprefix(inside)
        if BOOKKEEPING.fullmatch(bare or relative) and not _counter(bare):
            bookkeeping.append(name)
        elif bare is not None:
            twice = twice or (bare if bare in weights else "")
            weights[bare] = name
        elif plain.startswith(inside):
            unexpected[relative] = name
        elif not others:
            bookkeeping.append(name)
    return Names(
        parent.strip("."),
        weights,
        unexpected,
        tuple(bookkeeping),
        twice,
        _stripped(weights, parent),
    )


def _counter(bare: str | None) -> bool:
    return bare is not None and bare.endswith(".num_batches_tracked")


def _bare(plain: str, root: str, bases: list[str]) -> str | None:
    """Return a weight's name in the network; None where it is none of it."""
    if plain.startswith(root) and plain.removeprefix(root).startswith(BACKBONE_PARTS):
        return plain.removeprefix(root)
    for base in bases:
        if plain.startswith(base) and plain.removeprefix(base).startswith(HEADS):
            return plain.removeprefix(base)
    return None


def _stripped(weights: dict[str, str], parent: str) -> tuple[str, ...]:
    parts = {part for name in weights.values() for part in name.split(".")}
    wrappers = [f"{part}." for part in sorted(parts & WRAPPERS)]
    return (*wrappers, *([parent] if parent else []))
