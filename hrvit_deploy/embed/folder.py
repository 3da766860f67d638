"""Write a folder that appears under its name only when it is whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from hrvit_deploy import standalone
from hrvit_deploy.artefact import Artefact
from hrvit_deploy.errors import ArtefactError

# Name of the folder of modules that need NumPy and Pillow alone.
STANDALONE = "standalone"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes ``target``'s name if all goes well.

    After an error or an interrupt it is removed and nothing has changed.

    Args:
        target: Its place; nothing may be there but an empty folder.

    Raises:
        ArtefactError: Something is there already, or nothing can be written there.
    """
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if target.exists():
        raise ArtefactError(
            f"{target} is there already", "remove it, or choose another folder with --out"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        # It is private while it may fail; afterwards it is as readable as other folders.
        staged.chmod(0o755)
    except OSError as error:
        raise ArtefactError(
            f"cannot write to {target.parent}: {error.strerror}",
            "choose a folder you may write to with --out",
        ) from error
    try:
        yield staged
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def copy_files(artefact: Artefact, folder: Path, name: str = "") -> Path:
    """Copy an artefact with its sidecar and the weights beside it.

    Args:
        artefact: A graph or a plan.
        folder: An existing folder.
        name: Name of the copy without its ending, in place of the artefact's own. A graph
            whose weights lie beside it keeps its own, since it names them.

    Returns:
        The copied file.
    """
    beside = artefact.manifest.graph.external_data if artefact.manifest.graph else {}
    stem = name if name and not beside else artefact.path.stem
    target = folder / f"{stem}{artefact.path.suffix}"
    shutil.copyfile(artefact.path, target)
    shutil.copyfile(artefact.sidecar, target.with_suffix(".json"))
    for weights in beside:
        shutil.copyfile(artefact.path.parent / weights, folder / weights)
    return target


def copy_standalone(folder: Path) -> None:
    """Copy the modules that need NumPy and Pillow alone, as they are, into a folder's own."""
    target = folder / STANDALONE
    target.mkdir()
    with resources.as_file(resources.files(standalone)) as sources:
        for source in sorted(sources.glob("*.py")):
            shutil.copyfile(source, target / source.name)
