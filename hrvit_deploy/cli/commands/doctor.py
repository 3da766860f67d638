"""``doctor``: what is installed and what works."""

from __future__ import annotations

import typer

from hrvit_deploy.artefact import plain
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import print_json
from hrvit_deploy.cli.render import tables


def doctor(as_json: arg.AsJson = False) -> None:
    """Say what is installed, what works, and what to install for the rest."""
    from hrvit_deploy.report.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        print_json(plain(diagnosis))
    else:
        tables.print_diagnosis(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(1)
