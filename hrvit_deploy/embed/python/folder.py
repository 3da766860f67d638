"""``embed --as python``: write a folder that runs on images by itself.

::

    FOLDER/
      README.md            the commands
      requirements.txt     NumPy, Pillow and one runtime, in the versions installed here
      app.json             the model's name, and its classes
      model.onnx|plan      the model
      model.json           its sidecar
      hrvit_app/           app/ of this folder; it imports nothing of this package
        running.py         what runs the model
        standalone/        hrvit_deploy/standalone, as it is
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
from hrvit_deploy.embed.folder import copy_files, copy_standalone, whole_folder
from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import ONNXRUNTIME_OPSET, Backend, Precision, Task
from hrvit_deploy.version import installed

APP = "hrvit_app"
# Commands that make the folder run, inside it.
COMMANDS = (
    "python3 -m venv .venv",
    ".venv/bin/python -m pip install -r requirements.txt",
    f".venv/bin/python -m {APP} photo.jpg",
)
# The app's files, but for those that run the model; one of these becomes RUNNING.
SOURCES = ("__init__.py", "__main__.py", "session.py")
RUNNING = "running.py"


@dataclass(frozen=True)
class Running:
    """The runtime of the model.

    Attributes:
        title: Its name in text.
        source: File of the app that becomes ``running.py``.
        needs: Distribution to the versions that suit, where none is installed here.
        hardware: The hardware it runs on.
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
        folder: Its place; nothing may be there yet.

    Returns:
        The folder.

    Raises:
        ArtefactError: Something is there already, or nothing can be written there.
        UsageError: It takes or returns a type that NumPy lacks, or no runtime runs it.
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
        _write(staged / "README.md", readme(manifest, running, _title(folder)))
        _copy_app(staged / APP, running)
    return folder


def _title(folder: Path) -> str:
    """Return a folder's own name as text, whatever bytes it is made of."""
    return folder.resolve().name.encode("utf-8", "backslashreplace").decode("utf-8")


def running_for(manifest: Manifest) -> Running:
    """Choose the runtime that runs an artefact as it is.

    Raises:
        UsageError: No runtime is known to give the right outputs.
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
    """Return a line for each distribution: the version installed here, or those that suit."""
    here = installed({**COMMON, **running.needs})
    pinned = {name: f"=={version}" for name, version in here.items()}
    # A plan runs in the version that built it, whatever is installed here.
    exact = {name: needed for name, needed in running.needs.items() if needed.startswith("==")}
    chosen = COMMON | running.needs | pinned | exact
    return "".join(f"{name}{version}\n" for name, version in sorted(chosen.items()))


def readme(manifest: Manifest, running: Running, title: str) -> str:
    """Return the README: how to make the folder run, and how to use it in a program."""
    segments = manifest.network.task is Task.SEGMENT
    return README.format(
        title=title,
        commands="\n".join(COMMANDS),
        task="label maps" if segments else "class probabilities",
        network=f"{manifest.network.title} ({manifest.precision})",
        runtime=running.title,
        hardware=running.hardware,
        printed=(
            "It writes `predictions/photo-labels.png`, whose values are class indices, and\n"
            "`predictions/photo-overlay.png`, and prints each class's share."
            if segments
            else "It prints the five likeliest classes."
        ),
        result=(
            "an H x W map of int32 class indices, -1 where scores are not finite"
            if segments
            else "an array of C float32 probabilities"
        ),
    )


README = """\
# {title}

{network} in {runtime}, on {hardware}: images in, {task} out. Nothing else of
hrvit-deploy is needed.

```sh
{commands}
```

`photo.jpg` stands for images of yours, of any size.
{printed}

In a program:

```python
from hrvit_app import Session

session = Session()            # threads may share it
result = session("photo.jpg")  # or an H x W x 3 uint8 RGB array
```

The result is {result}.

`model.json` is the model's sidecar: how images are prepared, what it was made from, and how
far its outputs were measured to lie from the trained network's. `app.json` names the classes.
"""


def _check_types(manifest: Manifest) -> None:
    for tensor in (*manifest.inputs, *manifest.outputs):
        if not _is_plain(tensor.dtype):
            raise UsageError(
                f"{tensor.name} is {tensor.dtype}, which plain NumPy has not",
                "export it without --half-io, which keeps float32 outside",
            )


def _is_plain(name: str) -> bool:
    try:
        return np.dtype(name).kind in "fiub"
    except TypeError:
        return False


def _copy_app(target: Path, running: Running) -> None:
    target.mkdir()
    with resources.as_file(resources.files("hrvit_deploy.embed.python") / "app") as sources:
        for name in SOURCES:
            shutil.copyfile(sources / name, target / name)
        shutil.copyfile(sources / running.source, target / RUNNING)
    copy_standalone(target)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
