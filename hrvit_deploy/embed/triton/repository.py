"""``embed --as triton``: write a model repository, and what starts and measures it.

::

    FOLDER/
      README.md Dockerfile        how to start it; Pillow is all its container lacks
      perf.json                   an encoded image for perf_analyzer to send
      models/                     the repository
        NAME/                     the network, in its backend
          config.pbtxt labels.txt
          1/model.onnx|plan       with its sidecar, model.json
        NAME-prepare/             encoded images to its input, in Python
          config.pbtxt
          1/model.py              models/preprocess.py of this folder
          1/standalone/           hrvit_deploy/standalone, as it is
          1/artefact.json         the network's sidecar
        NAME-decide/              its scores to label maps or probabilities, in Python
          config.pbtxt
          1/model.py              models/postprocess.py of this folder
          1/standalone/           as above
          1/artefact.json         as above
          1/classes.json          names and colours of the classes
        NAME-images/              the ensemble of these
          config.pbtxt labels.txt
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
from hrvit_deploy.embed.folder import copy_files, copy_standalone, whole_folder
from hrvit_deploy.embed.triton.config import (
    IMAGE,
    LABELS_FILE,
    ensemble_config,
    network_config,
    postprocess_config,
    preprocess_config,
)
from hrvit_deploy.embed.triton.pbtxt import Message, write_text
from hrvit_deploy.embed.triton.readme import dockerfile, readme
from hrvit_deploy.embed.triton.serving import Serving, TritonOptions, settle
from hrvit_deploy.options import ImageSize, Task

MODELS = "models"
VERSION = "1"
SIDECAR, CLASSES_FILE, MODEL = "artefact.json", "classes.json", "model.py"


def embed_triton(
    artefact: Artefact, folder: Path, options: TritonOptions | None = None
) -> Path:
    """Write a Triton model repository for an artefact.

    Args:
        artefact: A graph or a plan.
        folder: Its place; nothing may be there yet.
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
        _write_step(models, "preprocess.py", preprocess_config(serving), artefact)
        if serving.postprocesses:
            config = postprocess_config(serving)
            version = _write_step(models, "postprocess.py", config, artefact)
            _write_classes(version, classes, serving)
        _write_ensemble(models / f"{serving.name}-images", serving, classes)
        _write_text(staged / "perf.json", perf_data(serving.manifest.preparation.size))
        _write_text(staged / "Dockerfile", dockerfile(serving, PIL.__version__))
        _write_text(staged / "README.md", readme(serving))
    return folder


def _write_network(
    model: Path, artefact: Artefact, serving: Serving, classes: ClassSet
) -> None:
    """Write the artefact with its sidecar, and the names of its classes."""
    version = model / VERSION
    version.mkdir(parents=True)
    copied = copy_files(artefact, version, "model")
    _write_config(model, network_config(serving, copied.name))
    _write_labels(model, classes)


def _write_step(models: Path, source: str, config: Message, artefact: Artefact) -> Path:
    """Write a model of the Python backend; return its version's folder."""
    model = models / str(config["name"])
    version = model / VERSION
    version.mkdir(parents=True)
    _write_config(model, config)
    code = resources.files("hrvit_deploy.embed.triton") / "models" / source
    _write_text(version / MODEL, code.read_text(encoding="utf-8"))
    # Triton's Python backend puts the version's folder on the path of modules.
    copy_standalone(version)
    shutil.copyfile(artefact.sidecar, version / SIDECAR)
    return version


def _write_classes(version: Path, classes: ClassSet, serving: Serving) -> None:
    """Write names and colours for label maps; a classifier's model gets labels, too."""
    named = {"names": classes.names, "colours": classes.colours}
    _write_text(version / CLASSES_FILE, json.dumps(named, ensure_ascii=False) + "\n")
    if serving.task is Task.CLASSIFY:
        _write_labels(version.parent, classes)


def _write_ensemble(model: Path, serving: Serving, classes: ClassSet) -> None:
    """Write the ensemble: its configuration, and the version's folder Triton requires."""
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
    """Return an image of that size, patches of colour in a JPEG, for perf_analyzer."""
    patches = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize((size.width, size.height))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    # A string is its length in four bytes, then itself (perf_analyzer, docs/input_data.md).
    element = struct.pack("<I", file.tell()) + file.getvalue()
    content = base64.b64encode(element).decode("ascii")
    return json.dumps({"data": [{IMAGE: {"b64": content}}]}) + "\n"
