"""``embed --as cpp``: write a folder that builds into a program that runs on images.

::

    FOLDER/
      README.md         the commands
      model/            the artefact, and its sidecar
      CMakeLists.txt    builds the library hrvit and the program hrvit_infer
      cmake/ include/ src/ examples/ palettes/ LICENSE
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hrvit_deploy.artefact import Artefact, Engine
from hrvit_deploy.bindings.tensorrt_ import TITLE
from hrvit_deploy.embed.cpp.readme import openvino_readme, tensorrt_readme
from hrvit_deploy.embed.folder import copy_files, whole_folder
from hrvit_deploy.errors import ArtefactError, UsageError
from hrvit_deploy.options import Backend, Task, join

# A link to cpp/ in a checkout, and a copy of it in a wheel.
SOURCES = Path(__file__).parent / "sources"
TASKS = {Task.SEGMENT: "segments", Task.CLASSIFY: "classifies"}
TYPES = ("float32", "float16", "bfloat16", "uint8")
SHIPPED = ("CMakeLists.txt", "LICENSE", "cmake", "examples", "include", "palettes", "src")


def embed_cpp(artefact: Artefact, folder: Path) -> Path:
    """Write a folder that builds and runs by the commands in its README.

    Args:
        artefact: A graph, for OpenVINO on a CPU; or a plan, for the TensorRT that built it.
        folder: Its place; nothing may be there yet.

    Returns:
        The folder.

    Raises:
        ArtefactError: Something is there already, nothing can be written there, the plan
            has no weights, or this package was installed without its C++ sources.
        UsageError: It takes or returns a type that C++ does not read.
    """
    _ = artefact.manifest.network.known_task
    _check_weights(artefact)
    _check_types(artefact)
    with whole_folder(folder) as staged:
        for name in SHIPPED:
            _copy(SOURCES / name, staged / name)
        (staged / "model").mkdir()
        model = copy_files(artefact, staged / "model").relative_to(staged)
        (staged / "README.md").write_text(_readme(artefact, model), encoding="utf-8")
    return folder


def _check_weights(artefact: Artefact) -> None:
    if artefact.manifest.options.get("strip_weights"):
        raise ArtefactError(
            f"{artefact.path} was built without its weights, and C++ cannot run it so",
            "build it again without --strip-weights",
        )


def _check_types(artefact: Artefact) -> None:
    for tensor in (*artefact.manifest.inputs, *artefact.manifest.outputs):
        if tensor.dtype not in TYPES:
            raise UsageError(
                f"{artefact.path.name} has {tensor.name} in {tensor.dtype}, and C++ reads"
                f" {join(TYPES)}",
                "export the network with its labels in uint8, or with scores",
            )


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        shutil.copyfile(source, target)
    else:
        raise ArtefactError(
            f"the C++ sources of this package are not whole: there is no {source}",
            "install hrvit-deploy again, from a wheel or from a checkout with links",
        )


def _readme(artefact: Artefact, model: Path) -> str:
    engine = artefact.manifest.engine
    network = artefact.manifest.network
    about = {
        "model": model.as_posix(),
        "network": network.title,
        "task": TASKS[network.known_task],
        "method": str(network.task),
        "precision": str(artefact.manifest.precision),
    }
    if engine is None:
        return openvino_readme(about)
    return tensorrt_readme(about | _about_engine(engine))


def _about_engine(engine: Engine) -> dict[str, str]:
    return {
        "library": TITLE[Backend(engine.backend)],
        "version": engine.version,
        "capabilities": ", ".join(engine.compute_capabilities) or "those it was built on",
    }
