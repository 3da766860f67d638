"""``embed``: an artefact as something a service is built on."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.artefact import Artefact
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, print_json
from hrvit_deploy.cli.newest import resolve_artefact
from hrvit_deploy.embed.triton.serving import Device, TritonBackend, TritonOptions
from hrvit_deploy.errors import UsageError
from hrvit_deploy.verdict import require_usable

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
    usual = TritonOptions()
    triton_options = {
        "triton-backend": backend is not None,
        "device": device is not None,
        "max-batch": max_batch is not None,
        "instances": instances is not None,
        "threads": threads is not None,
        "delay-us": delay_us is not None,
        "triton-release": release is not None,
    }
    _check_form(form, [name for name, is_given in triton_options.items() if is_given])
    options = TritonOptions(
        backend=backend,
        device=device,
        max_batch=max_batch,
        instances=usual.instances if instances is None else instances,
        threads=usual.threads if threads is None else threads,
        delay_us=usual.delay_us if delay_us is None else delay_us,
        release=usual.release if release is None else release,
    )
    with Terminal() as terminal:
        chosen = resolve_artefact(artefact, terminal)
        require_usable(chosen)
    folder = out or EMBEDDED_DIR / f"{chosen.path.stem}-{form}"
    lines = _write(form, chosen, folder, options)
    if as_json:
        made = {"artefact": str(chosen.path), "folder": str(folder), "as": form}
        print_json(made | {"commands": lines})
        return
    _show(folder, lines)


def _check_form(form: Form, triton_options: list[str]) -> None:
    """Refuse options of Triton for another form.

    Raises:
        UsageError: Some are given.
    """
    if triton_options and form is not Form.TRITON:
        raise UsageError(
            f"--{triton_options[0]} is for --as triton, not {form}",
            "leave it out, or embed --as triton",
        )


def _write(form: Form, artefact: Artefact, folder: Path, options: TritonOptions) -> list[str]:
    """Write the folder and return the command lines that come next."""
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
    """Return the lines of its shell blocks, in order."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", readme.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [line for block in blocks for line in block.splitlines()]


def _show(folder: Path, lines: list[str]) -> None:
    """Print what was written and what to run; lines stay whole, to be copied."""
    count = sum(path.is_file() for path in folder.rglob("*"))
    print(f"{folder}/  {count} files; next")  # noqa: T201
    for line in lines:
        print(f"  {line}")  # noqa: T201
