"""``verify``: an artefact beside a reference, on real images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, exit_on_failed_parity
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.render import tables
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.parity.gates import GATES
from hrvit_deploy.pipeline import stages
from hrvit_deploy.runners.spec import InferencePrecision, Provider, RunOptions

EAGER = "eager"


def verify(
    artefact: arg.ArtefactPath = None,
    against: Annotated[
        str, typer.Option("--against", help="Another artefact, or eager: the network itself.")
    ] = EAGER,
    images: arg.ImageFolder = None,
    samples: arg.Samples = None,
    checkpoint: arg.CheckpointFile = None,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    max_error: Annotated[
        float | None, typer.Option("--max-error", help="Gate, in deviations of the reference.")
    ] = None,
    mean_error: Annotated[float | None, typer.Option("--mean-error", help="Likewise.")] = None,
    cosine: Annotated[float | None, typer.Option("--cosine", help="Gate, at least.")] = None,
    agreement: Annotated[
        float | None, typer.Option("--agreement", help="Gate: share of equal decisions.")
    ] = None,
    as_json: arg.AsJson = False,
) -> None:
    """Compare an artefact with the eager network, or with another artefact."""
    run = RunOptions(
        provider=provider,
        inference_precision=inference_precision,
        checkpoint=str(checkpoint or ""),
    )
    limits = {
        "max_error": max_error,
        "mean_error": mean_error,
        "cosine": cosine,
        "agreement": agreement,
    }
    with Terminal() as terminal:
        candidate = resolve_artefact(artefact, terminal)
        changed = {name: limit for name, limit in limits.items() if limit is not None}
        verified = stages.verify(
            candidate,
            None if against == EAGER else open_artefact(Path(against)),
            ImageSource(images, samples),
            terminal,
            gates=replace(GATES[candidate.manifest.precision], **changed),
            run=run,
        )
    tables.print_parity(verified, as_json=as_json)
    exit_on_failed_parity(verified)
