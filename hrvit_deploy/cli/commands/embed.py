"""``embed``: an artefact as something a service is built on."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, print_json
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.embed.triton.serving import Device, TritonBackend, TritonOptions
from hrvit_deploy.errors import UsageError

EMBEDDED_DIR = Path("embedded")


class Form(StrEnum):
    """What is made of an artefact."""

    TRITON = "triton"
    CPP = "cpp"
    PYTHON = "python"


def embed(
    form: Annotated[
        Form,
        typer.Option("--as", help="A Triton model repository, or a program in C++ or Python."),
    ],
    artefact: arg.ArtefactPath = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write.", show_default="one in embedded/"),
    ] = None,
    backend: Annotated[
        TritonBackend | None,
        typer.Option(
            "--triton-backend",
            help="Triton: backend that runs the artefact.",
            show_default="tensorrt for plans, onnxruntime for graphs",
        ),
    ] = None,
    device: Annotated[
        Device | None,
        typer.Option(
            "--device",
            help="Triton: where it runs.",
            show_default="gpu for plans, cpu for graphs",
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            "--max-batch",
            min=0,
            help="Triton: images in one run of a dynamic batch at most.",
            show_default="8, a plan's profile, or 4 in OpenVINO",
        ),
    ] = None,
    instances: Annotated[
        int | None,
        typer.Option(
            "--instances", min=1, help="Triton: copies of the model.", show_default="1"
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="Triton: CPU threads of each copy.",
            show_default="the backend's own",
        ),
    ] = None,
    delay_us: Annotated[
        int | None,
        typer.Option(
            "--delay-us",
            min=0,
            help="Triton: microseconds that requests wait to share a run.",
            show_default="2000",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--triton-release",
            help="Triton: release of its container, as YY.MM.",
            show_default="the one it was written for",
        ),
    ] = None,
    as_json: arg.AsJson = False,
) -> None:
    """Write what a service needs of an artefact: for Triton, C++ or Python."""
    said = {
        "backend": backend,
        "device": device,
        "max_batch": max_batch,
        "instances": instances,
        "threads": threads,
        "delay_us": delay_us,
        "release": release,
    }
    options = _triton_options(form, said)
    with Terminal() as terminal:
        chosen = resolve_artefact(artefact, terminal)
    folder = out or EMBEDDED_DIR / f"{chosen.path.stem}-{form}"
    lines = _write(form, chosen, folder, options)
    if as_json:
        made = {"artefact": str(chosen.path), "folder": str(folder), "as": form}
        print_json(made | {"commands": lines})
        return
    _show(folder, lines)


def _triton_options(form: Form, said: dict[str, Any]) -> TritonOptions:
    """What was said of Triton.

    Raises:
        UsageError: It was said of something else, or cannot be meant.
    """
    given = {name: value for name, value in said.items() if value is not None}
    if given and form is not Form.TRITON:
        names = {"backend": "triton-backend", "release": "triton-release"}
        first = next(iter(given))
        raise UsageError(
            f"--{names.get(first, first.replace('_', '-'))} is for --as triton, not {form}",
            "leave it out, or embed --as triton",
        )
    return TritonOptions(**given)


def _write(form: Form, artefact: Artefact, folder: Path, options: TritonOptions) -> list[str]:
    """Write the folder; the command lines that come next."""
    within = f"cd {shlex.quote(str(folder))}"
    match form:
        case Form.TRITON:
            from hrvit_deploy.embed.triton.readme import commands
            from hrvit_deploy.embed.triton.repository import embed_triton
            from hrvit_deploy.embed.triton.serving import settle

            embed_triton(artefact, folder, options)
            run = commands(settle(artefact, options))
            return [within, run.build, run.serve, run.measure, run.search]
        case Form.CPP:
            from hrvit_deploy.embed.cpp.folder import embed_cpp

            embed_cpp(artefact, folder)
        case Form.PYTHON:
            from hrvit_deploy.embed.python.folder import embed_python

            embed_python(artefact, folder)
    return [within, *_readme_commands(folder / "README.md")]


def _readme_commands(readme: Path) -> list[str]:
    """The lines of its shell blocks, in order."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", readme.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [line for block in blocks for line in block.splitlines()]


def _show(folder: Path, lines: list[str]) -> None:
    """What was written, and what to run; lines stay whole, to be copied."""
    count = sum(path.is_file() for path in folder.rglob("*"))
    print(f"{folder}/  {count} files; next")  # noqa: T201
    for line in lines:
        print(f"  {line}")  # noqa: T201
