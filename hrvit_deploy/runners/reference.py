"""The trained network an artefact came from, answering as the artefact does."""

from __future__ import annotations

from dataclasses import replace

from hrvit_deploy.artefact import Manifest
from hrvit_deploy.deploy.signature import Signed
from hrvit_deploy.options import InputFormat
from hrvit_deploy.trained import find_again


def reference_network(manifest: Manifest, checkpoint: str = "") -> Signed:
    """The network before any rewrite, on normalised float32 images.

    Args:
        manifest: Of any artefact.
        checkpoint: Where the weights lie now; empty for where they lay at export.

    Returns:
        A module that answers in the artefact's own output format.

    Raises:
        CheckpointError: The weights are gone, or are not those of the export.
    """
    preparation = replace(manifest.preparation, format=InputFormat.FLOAT_NCHW)
    network = find_again(manifest, checkpoint)
    return Signed(network, preparation, manifest.output_format).eval()
