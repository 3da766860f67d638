"""The artefact a command works on: the one named, or the newest that will do."""

from __future__ import annotations

from pathlib import Path

from hrvit_deploy.artefact import Artefact, Kind, newest, open_artefact
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline import EXPORT_DIR


def given_or_newest(path: Path | None, terminal: Terminal, *precisions: Precision) -> Artefact:
    """The artefact named, or the newest graph in ``export/`` of one of those precisions.

    Raises:
        ArtefactError: There is none, or the one named is not what its sidecar says.
    """
    if path is not None:
        return open_artefact(path)
    artefact = newest(
        EXPORT_DIR, Kind.ONNX, lambda found: not precisions or found.precision in precisions
    )
    which = f"{precisions[0]} graph" if len(precisions) == 1 else "graph"
    terminal.note(f"taking the newest {which}, {artefact.path}")
    return artefact
