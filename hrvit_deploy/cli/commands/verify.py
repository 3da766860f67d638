"""``verify``: an artefact beside a reference, on real images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, exit_on_refusal
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.cli.render import tables
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.pipeline import quality_gate, stages
from hrvit_deploy.runners.spec import InferencePrecision, Provider, RunOptions

EAGER = "eager"
BY_PRECISION = "by precision"


def verify(
    artefact: arg.ArtefactPath = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            help="Reference: an artefact, or eager for the network in PyTorch.",
            show_default="eager; of another network than HRViT, itself in another runtime",
        ),
    ] = "",
    images: arg.ImageFolder = None,
    samples: arg.Samples = None,
    checkpoint: arg.MovedCheckpoint = None,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    max_error: Annotated[
        float | None,
        typer.Option(
            "--max-error",
            help="Gate: largest error, in standard deviations of the reference.",
            show_default=BY_PRECISION,
        ),
    ] = None,
    mean_error: Annotated[
        float | None,
        typer.Option(
            "--mean-error",
            help="Gate: mean error, in standard deviations of the reference.",
            show_default=BY_PRECISION,
        ),
    ] = None,
    cosine: Annotated[
        float | None,
        typer.Option(
            "--cosine",
            help="Gate: least cosine of both outputs, 0 to 1.",
            show_default=BY_PRECISION,
        ),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(
            "--agreement",
            help="Gate: least share of equal decisions, 0 to 1.",
            show_default=BY_PRECISION,
        ),
    ] = None,
    accept_parity: arg.AcceptParity = False,
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
        candidate = resolve_artefact(artefact, terminal, usable=False)
        if against == EAGER:
            _ = candidate.manifest.network.hrvit
        usual = stages.usual_gates(candidate.manifest.precision, run)
        changed = {name: limit for name, limit in limits.items() if limit is not None}
        verified = stages.verify(
            candidate,
            None if against in ("", EAGER) else open_artefact(Path(against)),
            ImageSource(images, samples),
            terminal,
            gates=replace(usual, **changed) if changed else None,
            run=run,
            accept=accept_parity,
        )
        quality_gate.tell(verified, terminal)
    tables.print_parity(verified, as_json=as_json)
    exit_on_refusal(verified)
