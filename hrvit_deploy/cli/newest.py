"""The artefact a command works on: the one named, or the newest that will do."""

from __future__ import annotations

from pathlib import Path

from hrvit_deploy.artefact import Artefact, Kind, Manifest, newest, open_artefact
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.model.variants import load_variant
from hrvit_deploy.options import Precision
from hrvit_deploy.pipeline.stages import EXPORT_DIR
from hrvit_deploy.verdict import verdict_of


def resolve_artefact(
    path: Path | None, terminal: Terminal, *precisions: Precision, usable: bool = True
) -> Artefact:
    """Open the artefact named, or the newest graph in ``export/`` of one of those precisions.

    Args:
        path: Of the artefact; None for the newest.
        terminal: Shown which is taken.
        precisions: Any of them; all where none is given.
        usable: Pass over what its gates refused.

    Raises:
        ArtefactError: There is none, or the one named is not what its sidecar says.
    """
    if path is not None:
        opened = open_artefact(path)
        if usable:
            warn_of_refused(terminal, opened)
        return opened

    def fits(manifest: Manifest) -> bool:
        wanted = not precisions or manifest.precision in precisions
        return wanted and (not usable or verdict_of(manifest).usable)

    artefact = newest(EXPORT_DIR, Kind.ONNX, fits, progress=terminal)
    which = f"{precisions[0]} graph" if len(precisions) == 1 else "graph"
    terminal.note(f"taking the newest {which}, {artefact.path}")
    return artefact


def warn_of_refused(terminal: Terminal, *artefacts: Artefact) -> None:
    """Warn of artefacts that are run or read although their gates refused them."""
    for artefact in artefacts:
        verdict = verdict_of(artefact.manifest)
        if not verdict.usable:
            terminal.warn(f"{artefact.path} was refused ({verdict})")


def resolve_quantizable(
    path: Path | None, precision: Precision, variant: str, terminal: Terminal
) -> Artefact:
    """Open the graph named, with or without a sidecar; or the newest that will do.

    A float32 graph comes before a quantized one: what was tried with other options must not
    be built by chance.

    Args:
        path: The graph; None for the newest.
        precision: INT8 or FP8.
        variant: Of a quantized graph without a sidecar.
        terminal: Shown which graph it is.

    Raises:
        ArtefactError: There is none, or the one named is not what its sidecar says.
    """
    if path is not None:
        return _open_quantizable(path, variant, terminal)
    try:
        return resolve_artefact(None, terminal, Precision.FP32)
    except ArtefactError:
        return resolve_artefact(None, terminal, precision)


def _open_quantizable(path: Path, variant: str, terminal: Terminal) -> Artefact:
    """Open a graph by its path; one that another tool quantized needs no sidecar."""
    if path.suffix != ".onnx" or not path.is_file() or path.with_suffix(".json").exists():
        return open_artefact(path)
    from hrvit_deploy.quantization.import_qdq import import_qdq

    imported = import_qdq(path, load_variant(variant))
    network = imported.manifest.network
    terminal.warn(
        f"{path.name} has no sidecar: taken for {network.title} to {network.task}"
        f" {network.num_classes} classes, on images normalised as for ImageNet"
    )
    return imported
