"""The trained network an artefact came from, built again to compare with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hrvit_deploy.artefact import Manifest, Source, Weights, sha256_of
from hrvit_deploy.deploy.signature import Signed
from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model.checkpoint import load_network, read_checkpoint
from hrvit_deploy.model.network import Network, build_network, set_random_weights
from hrvit_deploy.options import InputFormat

CHECKPOINT = "checkpoint"


def reference_network(manifest: Manifest, checkpoint: str = "") -> Signed:
    """The network as trained, before any rewrite, on normalised float32 images.

    Args:
        manifest: Of any artefact; its chain of sources ends at the checkpoint.
        checkpoint: Where the weights lie now; empty for where they lay at export.

    Returns:
        A module that answers in the artefact's own output format.

    Raises:
        CheckpointError: The weights are gone, or are not those of the export.
    """
    preparation = replace(manifest.preparation, format=InputFormat.FLOAT_NCHW)
    network = trained_network(manifest, checkpoint)
    return Signed(network, preparation, manifest.output_format).eval()


def trained_network(manifest: Manifest, checkpoint: str = "") -> Network:
    """The bare network with the weights the artefact was made from."""
    described = manifest.network
    if described.weights is Weights.RANDOM:
        network = build_network(
            described.variant, described.task, described.num_classes, described.in_channels
        )
        set_random_weights(network, described.seed)
        return network
    source = checkpoint_of(manifest)
    path = Path(checkpoint or source.path)
    if not path.is_file():
        raise CheckpointError(
            f"the checkpoint {path} that this artefact came from is not there",
            "say where it is now with --checkpoint",
        )
    if sha256_of(path) != source.sha256:
        raise CheckpointError(
            f"{path} is not the checkpoint this artefact came from (SHA-256 differs)",
            "give that one with --checkpoint, or export this one",
        )
    return load_network(
        read_checkpoint(path),
        described.variant,
        described.task,
        described.num_classes,
        described.in_channels,
    )


def checkpoint_of(manifest: Manifest) -> Source:
    """The last link of the chain of sources.

    Raises:
        CheckpointError: The sidecar names none.
    """
    for source in reversed(manifest.sources):
        if source.kind == CHECKPOINT:
            return source
    raise CheckpointError(
        "the sidecar names no checkpoint to compare with", "export the network again"
    )
