"""``embed --as python``: a folder that answers about images by itself.

::

    FOLDER/
      README.md            the commands
      requirements.txt     what it needs, in the versions it was written beside
      app.json             the model's name, and its classes
      model.onnx|plan      with its sidecar
      hrvit_app/           NumPy, Pillow and one runtime; nothing of this package
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from hrvit_deploy.artefact import Artefact, Engine, Manifest
from hrvit_deploy.classes import choose_classes
from hrvit_deploy.embed.folder import copy_files, whole_folder
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import ONNXRUNTIME_OPSET, Backend, Precision, Task
from hrvit_deploy.version import installed

APP = "hrvit_app"
# What makes the folder run, inside it.
COMMANDS = (
    "python3 -m venv .venv",
    ".venv/bin/python -m pip install -r requirements.txt",
    f".venv/bin/python -m {APP} photo.jpg",
)
# Of the app's files, all but those that say what runs the model; one becomes RUNNING.
SOURCES = ("__init__.py", "__main__.py", "session.py")
RUNNING = "running.py"


@dataclass(frozen=True)
class Running:
    """What runs the model.

    Attributes:
        title: What it is called in text.
        source: File of the app that becomes its ``running.py``.
        needs: Distribution to the versions that will do, where none is installed here.
        hardware: What it runs on.
    """

    title: str
    source: str
    needs: dict[str, str]
    hardware: str = "the CPU"


COMMON = {"numpy": ">=2.0", "pillow": ">=11.0"}
ONNXRUNTIME = Running("onnxruntime", RUNNING, {"onnxruntime": ">=1.22"})
OPENVINO = Running("OpenVINO", "running_openvino.py", {"openvino": ">=2026.1"})


def embed_python(artefact: Artefact, folder: Path) -> Path:
    """Write a folder that runs an artefact by the commands in its README.

    Args:
        artefact: A graph or a plan.
        folder: Where to; nothing may be there yet.

    Returns:
        The folder.

    Raises:
        ArtefactError: Something is there already, or nothing can be written there.
        UsageError: It takes or returns what plain NumPy has not, or nothing runs it.
    """
    manifest = artefact.manifest
    _check_types(manifest)
    running = running_for(manifest)
    classes = choose_classes(manifest.network)
    with whole_folder(folder) as staged:
        model = copy_files(artefact, staged, "model")
        app = {
            "model": model.name,
            "names": classes.names,
            "colours": classes.colours,
            "clear": sorted(classes.clear),
        }
        _write(staged / "app.json", json.dumps(app, ensure_ascii=False, indent=1) + "\n")
        _write(staged / "requirements.txt", requirements(running))
        _write(staged / "README.md", readme(manifest, running, folder.name))
        _copy_app(staged / APP, running)
    return folder


def running_for(manifest: Manifest) -> Running:
    """What can run that artefact as it is.

    Raises:
        UsageError: Nothing that is known to answer right.
    """
    if manifest.engine is not None:
        return _running_plan(manifest.engine)
    graph = manifest.graph
    too_new = graph is not None and graph.opset > ONNXRUNTIME_OPSET
    if not too_new and manifest.float_type is not Precision.BF16:
        return ONNXRUNTIME
    if manifest.quantization is not None:
        raise UsageError(
            "onnxruntime cannot run this graph as it is, and OpenVINO's 8-bit products"
            " overflow on older CPUs",
            f"quantize a float32 graph of opset {ONNXRUNTIME_OPSET} or older",
        )
    return OPENVINO


def _running_plan(engine: Engine) -> Running:
    exactly = f"=={engine.version}"
    libraries: tuple[str, ...] = ("tensorrt",)
    if engine.backend == Backend.TENSORRT_RTX:
        libraries = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs")
    gpus = ", ".join(engine.compute_capabilities)
    return Running(
        "TensorRT-RTX" if engine.backend == Backend.TENSORRT_RTX else "TensorRT",
        "running_tensorrt.py",
        {**dict.fromkeys(libraries, exactly), "cuda-python": ">=12.9"},
        f"an NVIDIA GPU of compute capability {gpus}" if gpus else "an NVIDIA GPU",
    )


def requirements(running: Running) -> str:
    """A line for each distribution: the version installed here, or those that will do."""
    here = installed({**COMMON, **running.needs})
    pinned = {name: f"=={version}" for name, version in here.items()}
    # What a plan was built by is what runs it, whatever is installed here.
    exact = {name: said for name, said in running.needs.items() if said.startswith("==")}
    chosen = COMMON | running.needs | pinned | exact
    return "".join(f"{name}{said}\n" for name, said in sorted(chosen.items()))


def readme(manifest: Manifest, running: Running, title: str) -> str:
    """How to make it run, and what else it can."""
    segments = manifest.network.task is Task.SEGMENT
    return README.format(
        title=title,
        commands="\n".join(COMMANDS),
        task="label maps" if segments else "class probabilities",
        network=f"{manifest.network.variant.name}, {manifest.precision}",
        runtime=running.title,
        hardware=running.hardware,
        shown=(
            "It writes `predictions/photo-labels.png`, whose values are class indices, and\n"
            "`predictions/photo-overlay.png`, and prints each class's share."
            if segments
            else "It prints the five likeliest classes."
        ),
        returned=(
            "an H x W map of int32 class indices, -1 where scores are not finite"
            if segments
            else "an array of C float32 probabilities"
        ),
    )


README = """\
# {title}

HRViT ({network}) in {runtime}, on {hardware}: images in, {task} out. Nothing else of
hrvit-deploy is needed.

```sh
{commands}
```

`photo.jpg` stands for images of yours, of any size.
{shown}

In a program:

```python
from hrvit_app import Session

session = Session()            # threads may share it
answer = session("photo.jpg")  # or an H x W x 3 uint8 RGB array
```

An answer is {returned}.

`model.json` is the model's sidecar: how images are prepared, what it was made from, and how
far its answers were measured to lie from the trained network's. `app.json` names the classes.
"""


def _check_types(manifest: Manifest) -> None:
    for side in (*manifest.inputs, *manifest.outputs):
        if not _is_plain(side.dtype):
            raise UsageError(
                f"{side.name} is {side.dtype}, which plain NumPy has not",
                "export it without --half-io, which keeps float32 outside",
            )


def _is_plain(name: str) -> bool:
    try:
        return np.dtype(name).kind in "fiub"
    except TypeError:
        return False


def _copy_app(target: Path, running: Running) -> None:
    target.mkdir()
    with resources.as_file(resources.files("hrvit_deploy.embed") / APP) as sources:
        for name in SOURCES:
            shutil.copyfile(sources / name, target / name)
        shutil.copyfile(sources / running.source, target / RUNNING)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
