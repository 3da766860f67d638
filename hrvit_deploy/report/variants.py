"""What a variant costs, and which rewrites the deploy form has."""

from __future__ import annotations

from dataclasses import dataclass

from hrvit_deploy import trained
from hrvit_deploy.artefact import Network
from hrvit_deploy.deploy.form import REWRITES
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import ImageSize


@dataclass(frozen=True)
class RewriteDescription:
    """One rewrite of the deploy form."""

    name: str
    default: bool
    summary: str


@dataclass(frozen=True)
class VariantDescription:
    """A variant, what it costs at a size, and the rewrites there are."""

    network: Network
    size: ImageSize
    rewrites: tuple[RewriteDescription, ...]


def describe_variant(spec: NetworkSpec, size: ImageSize) -> VariantDescription:
    """Count what a network costs, without memory for its weights."""
    rewrites = tuple(RewriteDescription(r.name, r.default, r.summary) for r in REWRITES)
    return VariantDescription(trained.describe(spec, size), size, rewrites)
