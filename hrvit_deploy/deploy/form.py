"""The inference form: a copy of a trained network with named rewrites applied."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import nn

from hrvit_deploy.deploy.rewrites import (
    convolve_ffn,
    convolve_output,
    convolve_values,
    dense_shortcut,
    flat_tokens,
    fold_batch_norm,
    fold_scale,
    grid_layout,
    low_resolution_decoder,
    merge_depthwise,
    ragged_stripes,
    separate_projections,
    separate_queries,
    static_maps,
    static_stripes,
)
from hrvit_deploy.deploy.sites import backbone_of
from hrvit_deploy.docstrings import docstring_of
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import ImageSize, Target, check_size

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


@dataclass(frozen=True)
class Rewrite:
    """A named, exact change of the network.

    Attributes:
        name: As in ``--without NAME`` and in sidecars.
        apply: Changes the network in place for inputs of that size; returns in how many
            places.
        default: Whether it runs unless switched off, or only when asked for.
        after: Names of the rewrites that must have run before it; without one of them it
            finds nothing to change.
    """

    name: str
    apply: Callable[[nn.Module, ImageSize], int]
    default: bool = True
    after: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """First line of its documentation."""
        return docstring_of(self.apply).partition("\n")[0]


# Norms fold first, while their neighbours are still plain convolutions.
REWRITES = (
    Rewrite("fold-batch-norm", fold_batch_norm.apply),
    Rewrite("fold-scale", fold_scale.apply),
    Rewrite("static-maps", static_maps.apply),
    Rewrite("static-stripes", static_stripes.apply),
    Rewrite("ragged-stripes", ragged_stripes.apply, after=("static-stripes",)),
    Rewrite("dense-shortcut", dense_shortcut.apply),
    Rewrite("merge-depthwise", merge_depthwise.apply),
    Rewrite("convolve-ffn", convolve_ffn.apply),
    Rewrite(
        "convolve-output",
        convolve_output.apply,
        after=("fold-batch-norm", "static-stripes"),
    ),
    Rewrite("convolve-values", convolve_values.apply, default=False, after=("static-stripes",)),
    Rewrite("separate-projections", separate_projections.apply, after=("static-stripes",)),
    Rewrite(
        "separate-queries",
        separate_queries.apply,
        default=False,
        after=("separate-projections",),
    ),
    Rewrite("grid-layout", grid_layout.apply),
    Rewrite(
        "flat-tokens",
        flat_tokens.apply,
        after=(
            "fold-batch-norm",
            "static-stripes",
            "dense-shortcut",
            "convolve-ffn",
            "grid-layout",
        ),
    ),
    Rewrite("low-resolution-decoder", low_resolution_decoder.apply),
)


# What each runtime gets, as benchmarks.cpu measured it. onnxruntime multiplies tokens
# faster than it changes layouts, OpenVINO the other way round, and both copy what they split.
# TensorRT gets padded stripes, whose products are fewer and larger than with a ragged one
# beside them, and slices what one product makes.
EVERYWHERE = (
    "fold-batch-norm",
    "fold-scale",
    "static-maps",
    "static-stripes",
    "dense-shortcut",
    "merge-depthwise",
    "convolve-ffn",
    "grid-layout",
    "flat-tokens",
    "low-resolution-decoder",
)
APART = ("separate-projections", "separate-queries")
TARGETS = {
    Target.ONNXRUNTIME: (*EVERYWHERE, "ragged-stripes", *APART),
    Target.OPENVINO: (*EVERYWHERE, "ragged-stripes", *APART, "convolve-output"),
    Target.TENSORRT: (*EVERYWHERE, "convolve-output"),
}


@dataclass(frozen=True)
class InferenceForm(Generic[AnyNetwork]):
    """A network to trace, and what was done to it.

    Attributes:
        network: Takes and returns what the trained one does, at ``size`` alone.
        changes: Rewrite name to the number of places it changed, in the order applied.
    """

    network: AnyNetwork
    size: ImageSize
    changes: dict[str, int]


def choose(
    without: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    rewrites: tuple[Rewrite, ...] = REWRITES,
    *,
    target: Target | None = None,
) -> tuple[Rewrite, ...]:
    """Choose the rewrites to run: the defaults or a target's, less ``without``, with ``extra``.

    A rewrite goes with those it comes after: where one of them is left out, it is too.

    Args:
        without: Names to leave out.
        extra: Names to add.
        rewrites: All there are, in the order they run.
        target: The runtime whose choice is taken in place of the defaults.

    Raises:
        UsageError: A name no rewrite has, one both wanted and not, or one wanted without
            what it comes after.
    """
    names = [rewrite.name for rewrite in rewrites]
    for name in (*without, *extra):
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"there is no rewrite {name!r}",
                f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}",
            )
    for name in set(without) & set(extra):
        raise UsageError(f"rewrite {name!r} is both wanted and not", "name it once")
    usual = {rewrite.name for rewrite in rewrites if rewrite.default}
    wanted = {*(usual if target is None else TARGETS[target]), *extra}
    chosen: dict[str, Rewrite] = {}
    for rewrite in rewrites:
        if rewrite.name not in wanted or rewrite.name in without:
            continue
        missing = [name for name in rewrite.after if name not in chosen]
        if not missing:
            chosen[rewrite.name] = rewrite
        elif rewrite.name in extra:
            raise UsageError(
                f"rewrite {rewrite.name!r} comes after {missing[0]!r}, which is left out",
                f"add --with {missing[0]}, or leave out --with {rewrite.name}",
            )
    return tuple(chosen.values())


def deploy(
    network: AnyNetwork, size: ImageSize, rewrites: tuple[Rewrite, ...] | None = None
) -> InferenceForm[AnyNetwork]:
    """Make the inference form of a trained network for images of one size.

    Args:
        network: In evaluation mode; it is not changed.
        size: Height and width of the images, multiples of 32.
        rewrites: What to apply, in order; :func:`choose` by default.

    Returns:
        A network whose outputs differ by float rounding alone.

    Raises:
        UsageError: The network trains, is no HRViT, or the size does not fit.
    """
    if any(module.training for module in network.modules()):
        raise UsageError("the network is in training mode", "call network.eval() first")
    check_size(size)
    backbone_of(network)
    form = copy.deepcopy(network).requires_grad_(requires_grad=False)
    chosen = choose() if rewrites is None else rewrites
    changes = {rewrite.name: rewrite.apply(form, size) for rewrite in chosen}
    # The modules that rewrites add start out in training mode.
    return InferenceForm(form.eval(), size, changes)
