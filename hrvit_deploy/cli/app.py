"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

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
from hrvit_deploy.version import VERSION

app = typer.Typer(
    name="hrvit-deploy",
    help="HRViT, from a PyTorch checkpoint to a verified ONNX graph and TensorRT engine.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(shown: bool) -> None:
    if shown:
        print(VERSION)  # noqa: T201
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


app.command()(export)
app.command()(verify)
app.command()(bench)
app.command()(inspect)
app.command()(doctor)
app.command()(run)
app.command("build-trt")(build_trt)
app.command()(calibrate)
app.command()(compare)
app.command()(quantize)
app.command()(sensitivity)
app.command()(evaluate)
app.command()(predict)
app.command()(embed)
