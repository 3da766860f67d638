"""The commands: each parses, calls one function, and prints what came of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import Artefact, Kind, Manifest, open_artefact, plain
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli import show
from hrvit_deploy.cli.building import build_trt, finish
from hrvit_deploy.cli.calibrating import calibrate
from hrvit_deploy.cli.choosing import given_or_newest
from hrvit_deploy.cli.comparing import compare
from hrvit_deploy.cli.console import Terminal, now, print_json
from hrvit_deploy.cli.embedding import embed
from hrvit_deploy.cli.judging import evaluate, predict
from hrvit_deploy.cli.quantizing import evidence, quantize, sensitivity
from hrvit_deploy.errors import UsageError
from hrvit_deploy.judging import Evidence
from hrvit_deploy.measure.gates import GATES, Gates
from hrvit_deploy.model.variants import load_variant
from hrvit_deploy.options import (
    BFLOAT16_OPSET,
    DEFAULT_OPSET,
    DEFAULT_SIZE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backend,
    BuildOptions,
    ExportOptions,
    InputFormat,
    OutputFormat,
    Precision,
    Task,
    parse_batch,
    parse_channels,
    parse_size,
)
from hrvit_deploy.pipeline import EXPORT_DIR, Pictures
from hrvit_deploy.request import Request
from hrvit_deploy.runners.contender import (
    Contender,
    ContenderKind,
    InferencePrecision,
    Provider,
)
from hrvit_deploy.version import VERSION

if TYPE_CHECKING:
    from hrvit_deploy.measure.profile import Profile

app = typer.Typer(
    name="hrvit-deploy",
    help="HRViT, from a PyTorch checkpoint to a verified ONNX graph and TensorRT engine.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
AGAINST = ("eager", "compile", "openvino")


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


@app.command()
def export(
    variant: arg.VariantName = "b1",
    task: arg.TaskName = None,
    checkpoint: arg.CheckpointFile = None,
    num_classes: arg.Classes = None,
    size: arg.Size = None,
    batch: arg.BatchText = "1",
    precision: arg.PrecisionName = Precision.FP32,
    opset: arg.Opset = None,
    input_format: arg.InputName = InputFormat.FLOAT_NCHW,
    output_format: arg.OutputName = OutputFormat.LOGITS,
    half_io: arg.HalfIo = False,
    mean: arg.Mean = None,
    std: arg.Std = None,
    target: arg.For = None,
    without: arg.Without = None,
    extra: arg.With = None,
    no_simplify: arg.NoSimplify = False,
    seed: arg.Seed = 0,
    images: arg.ImageFolder = None,
    samples: arg.Samples = None,
    out: arg.OutDir = EXPORT_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Export a network to ONNX and compare the graph with eager PyTorch."""
    request = Request(load_variant(variant), task, checkpoint, num_classes, seed)
    if opset is None:
        opset = BFLOAT16_OPSET if precision is Precision.BF16 else DEFAULT_OPSET
    # Checked before the network is loaded, which takes seconds.
    options = ExportOptions(
        size=parse_size(size) if size else DEFAULT_SIZE[task or Task.CLASSIFY],
        batch=parse_batch(batch),
        opset=opset,
        precision=precision,
        input_format=input_format,
        output_format=output_format,
        half_io=half_io,
        target=target,
        without=tuple(without or ()),
        extra=tuple(extra or ()),
        simplify=not no_simplify,
        mean=parse_channels(mean) if mean else IMAGENET_MEAN,
        std=parse_channels(std) if std else IMAGENET_STD,
    )
    with Terminal() as terminal:
        trained = pipeline.load(request, terminal)
        if not size:
            options = replace(options, size=DEFAULT_SIZE[trained.described.task])
        artefact = pipeline.export(trained, options, out, Pictures(images, samples), terminal)
    finish(artefact, as_json=as_json)


@app.command()
def verify(
    artefact: arg.ArtefactPath = None,
    against: Annotated[
        str, typer.Option("--against", help="Another artefact, or eager: the network itself.")
    ] = "eager",
    images: arg.ImageFolder = None,
    samples: arg.Samples = None,
    checkpoint: arg.CheckpointFile = None,
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    max_error: Annotated[
        float | None, typer.Option("--max-error", help="Gate, in deviations of the reference.")
    ] = None,
    mean_error: Annotated[float | None, typer.Option("--mean-error", help="Likewise.")] = None,
    cosine: Annotated[float | None, typer.Option("--cosine", help="Gate, at least.")] = None,
    agreement: Annotated[
        float | None, typer.Option("--agreement", help="Gate: share of equal decisions.")
    ] = None,
    as_json: arg.AsJson = False,
) -> None:
    """Compare an artefact with the eager network, or with another artefact."""
    with Terminal() as terminal:
        candidate = given_or_newest(artefact, terminal)
        gates = _gates(candidate.manifest, max_error, mean_error, cosine, agreement)
        compared = pipeline.verify(
            candidate,
            None if against == "eager" else open_artefact(Path(against)),
            Pictures(images, samples),
            terminal,
            gates=gates,
            provider=provider,
            inference_precision=inference_precision,
            checkpoint=str(checkpoint or ""),
        )
    parity = compared.manifest.parity
    assert parity is not None
    if as_json:
        print_json({"artefact": compared.path, **plain(parity)})
    else:
        show.printer().print(
            show.facts({"artefact": str(compared.path), **show.parity(parity)})
        )
    if not parity.passed:
        raise typer.Exit(1)


@app.command()
def bench(
    artefacts: Annotated[
        list[Path] | None, typer.Argument(help="By default the newest ONNX in export/.")
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            help="The first artefact's network as eager or compile, or that artefact in"
            " openvino; or several with commas between.",
        ),
    ] = "",
    provider: arg.ProviderName = Provider.CPU,
    inference_precision: arg.InferencePrecisionName = InferencePrecision.F32,
    threads: arg.Threads = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images per run where that is dynamic.")
    ] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of each.")] = 10,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs per turn.")] = 10,
    warmup: Annotated[int, typer.Option("--warmup", min=0, help="Untimed runs first.")] = 5,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also time by operator, and the slowest nodes.")
    ] = False,
    checkpoint: arg.CheckpointFile = None,
    out: arg.OutDir = Path("bench"),
    as_json: arg.AsJson = False,
) -> None:
    """Time artefacts in turn, round by round; ratios are to the first row."""
    from hrvit_deploy.measure.bench import BenchOptions
    from hrvit_deploy.measure.bench import bench as time_contenders
    from hrvit_deploy.measure.environment import describe_environment

    with Terminal() as terminal:
        opened = [open_artefact(path) for path in artefacts or ()]
        opened = opened or [given_or_newest(None, terminal)]
        contenders = _peers(opened[0], against, provider) + [
            pipeline.contender_for(artefact, provider=provider) for artefact in opened
        ]
        contenders = [
            replace(
                contender,
                threads=threads,
                batch=max(batch, contender.batch),
                checkpoint=str(checkpoint or ""),
            )
            for contender in _computing_in(inference_precision, contenders)
        ]
        report = time_contenders(
            contenders,
            BenchOptions(rounds=rounds, runs=runs, warmup=warmup),
            describe_environment(now()),
            terminal,
        )
        timed = [c for c, row in zip(contenders, report.results, strict=True) if not row.error]
        profiles = _profiles(timed) if profile else []
    show.bench(report, out, opened[0].path.stem, profiles=profiles, as_json=as_json)
    if any(row.error for row in report.results):
        raise typer.Exit(1)


@app.command()
def inspect(
    artefact: Annotated[
        str,
        typer.Argument(help="An artefact, or a variant such as b1; by default the newest."),
    ] = "",
    task: arg.TaskName = None,
    num_classes: arg.Classes = None,
    size: arg.Size = None,
    as_json: arg.AsJson = False,
) -> None:
    """Say what an artefact holds and where it came from, or what a variant costs."""
    from hrvit_deploy.measure.inspect import describe

    path = Path(artefact)
    if artefact and path.suffix not in {f".{kind}" for kind in Kind}:
        wanted = Request(load_variant(artefact), task, None, num_classes)
        chosen = parse_size(size) if size else DEFAULT_SIZE[task or Task.CLASSIFY]
        variant = pipeline.describe_variant(wanted, chosen)
        print_json(plain(variant)) if as_json else show.variant(variant)
        return
    with Terminal() as terminal:
        found = describe(given_or_newest(path if artefact else None, terminal))
    print_json(plain(found)) if as_json else show.description(found)


@app.command()
def doctor(as_json: arg.AsJson = False) -> None:
    """Say what is installed, what works, and what to install for the rest."""
    from hrvit_deploy.measure.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        print_json(plain(diagnosis))
    else:
        show.diagnosis(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(1)


@app.command()
def run(
    variant: arg.VariantName = "b1",
    task: arg.TaskName = None,
    checkpoint: arg.CheckpointFile = None,
    num_classes: arg.Classes = None,
    size: arg.Size = None,
    images: arg.ImageFolder = None,
    samples: arg.Samples = None,
    backend: arg.BackendName = Backend.AUTO,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Turns of timing.")] = 5,
    int8: Annotated[
        bool, typer.Option("--int8", help="Calibrate, quantize and judge; else FP16.")
    ] = False,
    fp8: Annotated[bool, typer.Option("--fp8", help="Likewise, in FP8 (E4M3).")] = False,
    as_json: arg.AsJson = False,
) -> None:
    """Walk the whole road: export, verify, build an engine, time the graph."""
    from hrvit_deploy.measure.bench import BenchOptions
    from hrvit_deploy.measure.environment import describe_environment
    from hrvit_deploy.road import run_road

    if int8 and fp8:
        raise UsageError("an engine has one precision, not int8 and fp8", "give one of the two")
    precision = Precision.INT8 if int8 else Precision.FP8 if fp8 else Precision.FP16
    judged = (
        evidence(precision, None, images, samples, None, None, compared=None)
        if int8 or fp8
        else Evidence(pictures=Pictures(images, samples))
    )
    request = Request(load_variant(variant), task, checkpoint, num_classes)
    with Terminal() as terminal:
        trained = pipeline.load(request, terminal)
        road = run_road(
            trained,
            ExportOptions(
                size=parse_size(size) if size else DEFAULT_SIZE[trained.described.task]
            ),
            BuildOptions(precision, backend),
            BenchOptions(rounds=rounds),
            terminal,
            evidence=judged,
            environment=describe_environment(now()),
            images=images,
        )
    show.road(road, as_json=as_json)


def _profiles(contenders: list[Contender]) -> list[Profile]:
    """Of those that have nodes: graphs and plans."""
    from hrvit_deploy.measure.profile import profile

    kinds = (ContenderKind.ONNX, ContenderKind.PLAN)
    return [profile(contender) for contender in contenders if contender.kind in kinds]


def _gates(
    manifest: Manifest,
    max_error: float | None,
    mean_error: float | None,
    cosine: float | None,
    agreement: float | None,
) -> Gates:
    given: dict[str, Any] = {
        "max_error": max_error,
        "mean_error": mean_error,
        "cosine": cosine,
        "agreement": agreement,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return replace(GATES[manifest.precision], **changed)


def _peers(artefact: Artefact, against: str, provider: Provider) -> list[Contender]:
    """PyTorch and OpenVINO, as asked; they come first, so ratios are to them."""
    names = [name.strip() for name in against.split(",") if name.strip()]
    for name in names:
        if name not in AGAINST:
            raise UsageError(
                f"cannot bench against {name!r}", f"choose from {', '.join(AGAINST)}"
            )
    return [
        _in_openvino(artefact)
        if name == "openvino"
        else pipeline.contender_for(
            artefact, eager=name == "eager", compiled=name == "compile", provider=provider
        )
        for name in names
    ]


def _in_openvino(artefact: Artefact) -> Contender:
    contender = pipeline.contender_for(artefact, provider=Provider.OPENVINO)
    if contender.kind is not ContenderKind.ONNX:
        raise UsageError(
            f"OpenVINO runs graphs, and {artefact.path} is a {artefact.manifest.kind}",
            "name the graph it was built from first",
        )
    return replace(contender, name="openvino")


def _computing_in(
    precision: InferencePrecision, contenders: list[Contender]
) -> list[Contender]:
    """The contenders, those in OpenVINO told what to compute in.

    Raises:
        UsageError: It is not float32, and none of them runs in OpenVINO.
    """
    # Without any, all are told, and refuse.
    told = [c for c in contenders if c.provider is Provider.OPENVINO] or contenders
    return [
        replace(contender, inference_precision=precision) if contender in told else contender
        for contender in contenders
    ]


app.command("build-trt")(build_trt)
app.command()(calibrate)
app.command()(compare)
app.command()(quantize)
app.command()(sensitivity)
app.command()(evaluate)
app.command()(predict)
app.command()(embed)
