"""The commands, put together in groups, each with an example."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated

import typer

from hrvit_deploy.cli import console
from hrvit_deploy.cli.commands.adopt import adopt
from hrvit_deploy.cli.commands.bench import bench
from hrvit_deploy.cli.commands.build_trt import build_trt
from hrvit_deploy.cli.commands.calibrate import calibrate
from hrvit_deploy.cli.commands.compare import compare
from hrvit_deploy.cli.commands.doctor import doctor
from hrvit_deploy.cli.commands.embed import embed
from hrvit_deploy.cli.commands.evaluate import evaluate
from hrvit_deploy.cli.commands.export import export
from hrvit_deploy.cli.commands.inspect import inspect
from hrvit_deploy.cli.commands.predict import predict
from hrvit_deploy.cli.commands.quantize import quantize
from hrvit_deploy.cli.commands.run import run
from hrvit_deploy.cli.commands.sensitivity import sensitivity
from hrvit_deploy.cli.commands.verify import verify
from hrvit_deploy.cli.help import MOST_WIDTH, Command, GroupedCommands
from hrvit_deploy.docstrings import docstring_of
from hrvit_deploy.standalone.limits import MOST_PIXELS, MOST_PIXELS_VARIABLE
from hrvit_deploy.version import VERSION

GRAPH = "export/hrvit-b1-segment-512x512.onnx"

app = typer.Typer(
    name="hrvit-deploy",
    help="Take HRViT from a PyTorch checkpoint to a verified ONNX graph and TensorRT engine.",
    epilog="Defaults of a project: a table for each command in hrvit-deploy.toml, or"
    " environment variables such as HRVIT_DEPLOY_EXPORT_VARIANT. Options come first, then"
    " variables, then the file.",
    cls=GroupedCommands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": MOST_WIDTH,
    },
)


def _version(shown: bool) -> None:
    if shown:
        print(VERSION)  # noqa: T201
        raise typer.Exit


def _quiet(flag: bool) -> None:
    if flag:
        console.verbosity = console.Verbosity.QUIET


def _verbose(flag: bool) -> None:
    if flag:
        console.verbosity = console.Verbosity.VERBOSE


def _max_pixels(count: int | None) -> None:
    # As a variable, it reaches the processes that are started too.
    if count is not None:
        os.environ[MOST_PIXELS_VARIABLE] = str(count)


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            callback=_quiet,
            expose_value=False,
            help="Show results, warnings and errors alone: no progress and no notes.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            callback=_verbose,
            expose_value=False,
            help="Show how long each step took, and where in the code an error arose.",
        ),
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels",
            callback=_max_pixels,
            expose_value=False,
            min=0,
            envvar=MOST_PIXELS_VARIABLE,
            show_envvar=False,
            help="Pixels that an image may have; 0 for any number.",
            show_default=f"{MOST_PIXELS / 1e6:.0f} million",
        ),
    ] = None,
) -> None:
    pass


def _add(group: str, name: str, function: Callable[..., None], example: str) -> None:
    add = app.command(
        name, cls=Command, help=docstring_of(function), rich_help_panel=group, epilog=example
    )
    add(function)


_add("Make", "run", run, "hrvit-deploy run --variant b1 --checkpoint weights.pth --int8")
_add("Make", "export", export, "hrvit-deploy export --variant b1 --checkpoint weights.pth")
_add("Make", "adopt", adopt, f"hrvit-deploy adopt slimmed.onnx --like {GRAPH} --out export/")
_add("Make", "calibrate", calibrate, f"hrvit-deploy calibrate {GRAPH} --images photos/")
_add("Make", "quantize", quantize, f"hrvit-deploy quantize {GRAPH} --data ADE20K/ --auto")
_add("Make", "build-trt", build_trt, f"hrvit-deploy build-trt {GRAPH} --int8 --images photos/")
_add("Measure", "verify", verify, f"hrvit-deploy verify {GRAPH} --images photos/")
_add("Measure", "bench", bench, f"hrvit-deploy bench {GRAPH} --against eager,openvino")
_add("Measure", "evaluate", evaluate, f"hrvit-deploy evaluate {GRAPH} --data ADE20K/")
_add("Measure", "compare", compare, "hrvit-deploy compare --data ADE20K/ --samples 200")
_add("Measure", "sensitivity", sensitivity, f"hrvit-deploy sensitivity {GRAPH} --samples 8")
_add("Use", "predict", predict, f"hrvit-deploy predict {GRAPH} photo.jpg photos/ --out masks/")
_add("Use", "embed", embed, f"hrvit-deploy embed {GRAPH} --as triton")
_add("Use", "inspect", inspect, f"hrvit-deploy inspect {GRAPH}")
_add("Use", "doctor", doctor, "hrvit-deploy doctor")
