"""Where a graph from outside becomes an artefact: in its place, or copied to a folder."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from hrvit_deploy.artefact import (
    Artefact,
    Kind,
    Manifest,
    read_sidecar,
    sha256_of,
    sidecar_of,
    write_sidecar,
)
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.staging import staging


@dataclass(frozen=True)
class Place:
    """Where an artefact goes, checked before anything is computed.

    Attributes:
        path: Of the graph as it is.
        target: Of the graph as it will be; the same where it stays.
        beside: Names of the files that hold its weights.
    """

    path: Path
    target: Path
    beside: tuple[str, ...] = ()

    def write(self, artefact: Artefact) -> Artefact:
        """Write the sidecar, and copy the graph and its weights where they are to be copied.

        Raises:
            ArtefactError: There is no room, or nothing may be written there.
        """
        made = replace(artefact, path=self.target)
        if self.target == self.path:
            write_sidecar(self.path, made.manifest)
            return made
        with staging(self.target) as folder:
            try:
                for name in (self.path.name, *self.beside):
                    shutil.copyfile(self.path.with_name(name), folder / name)
            except OSError as error:
                raise ArtefactError(
                    f"cannot copy {self.path} to {self.target.parent}: {error.strerror}",
                    "make room, or leave --out out to keep it in its place",
                ) from error
            write_sidecar(folder / self.target.name, made.manifest)
        return made


def choose_place(path: Path, folder: Path | None, beside: list[str]) -> Place:
    """Choose where the artefact goes, and refuse a place that is taken or closed.

    Args:
        path: Of the graph.
        folder: To copy it to; None to leave it where it is.
        beside: Names of the files beside it that hold its weights.

    Raises:
        ArtefactError: Something of others lies there, or nothing can be written there.
    """
    target = path if folder is None else folder / path.name
    if target.exists() and target.samefile(path):
        target = path
    if target != path:
        # A file of weights that bears the graph's name would go with an older graph.
        for name in dict.fromkeys((path.name, *beside, f"{path.name}.data")):
            _check_free(path.with_name(name), target.with_name(name))
    sidecar = sidecar_of(target)
    if sidecar.exists() and _own(sidecar) is None:
        raise ArtefactError(
            f"{sidecar} is in the way: it is no sidecar of a graph",
            "copy the graph to another folder with --out, or move that file",
        )
    _check_writable(target.parent)
    return Place(path, target, tuple(beside))


def own_sidecar(path: Path) -> Manifest | None:
    """Return what the sidecar beside a graph says, if it has one of ours."""
    return _own(sidecar_of(path))


def _own(sidecar: Path) -> Manifest | None:
    if not sidecar.is_file():
        return None
    try:
        manifest = read_sidecar(sidecar)
    except ArtefactError:
        return None
    return manifest if manifest.kind is Kind.ONNX else None


def _check_free(source: Path, target: Path) -> None:
    if not target.exists() or (
        source.is_file() and target.is_file() and sha256_of(source) == sha256_of(target)
    ):
        return
    raise ArtefactError(
        f"{target} is there already, and is another file",
        "copy the graph to another folder with --out, or move that file",
    )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArtefactError(
            f"cannot write to {folder}: {error.strerror}",
            "copy the graph to a folder you may write to with --out",
        ) from error
