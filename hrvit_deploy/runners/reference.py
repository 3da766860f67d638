"""The trained network an artefact came from, with the artefact's output format."""

from __future__ import annotations

from dataclasses import replace

from hrvit_deploy.artefact import Manifest
from hrvit_deploy.deploy.signature import Signed
from hrvit_deploy.options import InputFormat
from hrvit_deploy.trained import find_again


def reference_network(manifest: Manifest, checkpoint: str = "") -> Signed:
    """Load the network before any rewrite, for normalised float32 images.

    Args:
        manifest: The manifest of any artefact.
        checkpoint: Path of the weights; empty for their path at export.

    Returns:
        A module whose output has the artefact's own output format.

    Raises:
        CheckpointError: The weights are missing, or differ from those of the export.
    """
    preparation = replace(manifest.preparation, format=InputFormat.FLOAT_NCHW)
    network = find_again(manifest, checkpoint)
    # Whatever was exported from PyTorch returns one of them.
    assert manifest.output_format is not None
    return Signed(network, preparation, manifest.output_format).eval()
