"""``embed --as triton``: a model repository, and what starts and measures it.

::

    FOLDER/
      README.md Dockerfile        how to start it; Pillow is all its container lacks
      perf.json                   an encoded image for perf_analyzer to send
      models/                     the repository
        NAME/                     the network, in its backend
        NAME-prepare/             encoded images to its input, in Python
        NAME-decide/              its scores to label maps or probabilities, in Python
        NAME-images/              the ensemble of these
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
from importlib import resources
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.classes import ClassSet, choose_classes
from hrvit_deploy.embed.folder import copy_files, whole_folder
from hrvit_deploy.embed.triton.config import (
    IMAGE,
    LABELS_FILE,
    decide_config,
    ensemble_config,
    network_config,
    prepare_config,
)
from hrvit_deploy.embed.triton.pbtxt import Message, write_text
from hrvit_deploy.embed.triton.readme import dockerfile, readme
from hrvit_deploy.embed.triton.serving import Serving, TritonOptions, settle
from hrvit_deploy.options import ImageSize, Task

MODELS = "models"
VERSION = "1"
SIDECAR, CLASSES_FILE, STEP = "artefact.json", "classes.json", "model.py"


def embed_triton(
    artefact: Artefact, folder: Path, options: TritonOptions | None = None
) -> Path:
    """Write a Triton model repository for an artefact.

    Args:
        artefact: A graph or a plan.
        folder: Where to; nothing may be there yet.
        options: How it is served.

    Returns:
        The folder.

    Raises:
        ArtefactError: Something is there already, or nothing can be written there.
        UsageError: Triton cannot serve it so.
    """
    serving = settle(artefact, options or TritonOptions())
    classes = choose_classes(serving.manifest.network)
    with whole_folder(folder) as staged:
        models = staged / MODELS
        _write_network(models / serving.name, artefact, serving, classes)
        _write_step(models, "prepare", prepare_config(serving), artefact)
        if serving.decides:
            step = _write_step(models, "decide", decide_config(serving), artefact)
            _write_classes(step, classes, serving)
        _write_ensemble(models / f"{serving.name}-images", serving, classes)
        _write_text(staged / "perf.json", perf_data(serving.manifest.preparation.size))
        _write_text(staged / "Dockerfile", dockerfile(serving, PIL.__version__))
        _write_text(staged / "README.md", readme(serving))
    return folder


def _write_network(
    model: Path, artefact: Artefact, serving: Serving, classes: ClassSet
) -> None:
    """The artefact with its sidecar, and the names of its classes."""
    version = model / VERSION
    version.mkdir(parents=True)
    copied = copy_files(artefact, version, "model")
    _write_config(model, network_config(serving, copied.name))
    _write_labels(model, classes)


def _write_step(models: Path, step: str, config: Message, artefact: Artefact) -> Path:
    """A model of the Python backend; its version's folder."""
    model = models / str(config["name"])
    version = model / VERSION
    version.mkdir(parents=True)
    _write_config(model, config)
    source = resources.files("hrvit_deploy") / "embed" / f"triton_{step}.py"
    _write_text(version / STEP, source.read_text(encoding="utf-8"))
    shutil.copyfile(artefact.sidecar, version / SIDECAR)
    return version


def _write_classes(version: Path, classes: ClassSet, serving: Serving) -> None:
    """Names and colours for label maps; where they are not drawn, labels beside the model."""
    held = {"names": classes.names, "colours": classes.colours}
    _write_text(version / CLASSES_FILE, json.dumps(held, ensure_ascii=False) + "\n")
    if serving.task is Task.CLASSIFY:
        _write_labels(version.parent, classes)


def _write_ensemble(model: Path, serving: Serving, classes: ClassSet) -> None:
    """The ensemble has nothing of its own, but Triton looks for a version's folder."""
    version = model / VERSION
    version.mkdir(parents=True)
    # Tools that copy repositories drop empty folders.
    _write_text(version / ".keep", "")
    _write_config(model, ensemble_config(serving))
    _write_labels(model, classes)


def _write_labels(model: Path, classes: ClassSet) -> None:
    _write_text(model / LABELS_FILE, "".join(f"{name}\n" for name in classes.names))


def _write_config(model: Path, config: Message) -> None:
    _write_text(model / "config.pbtxt", write_text(config))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def perf_data(size: ImageSize) -> str:
    """An image of that size as perf_analyzer takes it: patches of colour, as a JPEG."""
    patches = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize((size.width, size.height))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    # A string is its length in four bytes, then itself (perf_analyzer, docs/input_data.md).
    element = struct.pack("<I", file.tell()) + file.getvalue()
    content = base64.b64encode(element).decode("ascii")
    return json.dumps({"data": [{IMAGE: {"b64": content}}]}) + "\n"
