"""``quantize`` and ``sensitivity``: a float graph to a judged INT8 or FP8 one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hrvit_deploy import judging, quantizing, searching
from hrvit_deploy.artefact import Artefact, open_artefact, plain
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli import show_quantizing as show
from hrvit_deploy.cli.choosing import given_or_newest
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.errors import ArtefactError, InputError, UsageError
from hrvit_deploy.judging import Evidence
from hrvit_deploy.measure.gates import QUALITY, Quality
from hrvit_deploy.model.variants import load_variant
from hrvit_deploy.options import (
    DEFAULT_GROUPS,
    DEFAULT_METHOD,
    CalibrationOptions,
    Group,
    Method,
    Precision,
    QuantizeOptions,
    join,
)
from hrvit_deploy.pipeline import CALIB_DIR, EXPORT_DIR, Pictures

# Images to compare on where nobody says how many.
COMPARED = 32

RangesFile = Annotated[
    Path | None,
    typer.Option("--ranges", help="File of calibrate; else images or ranges in calib/."),
]
CalibrationImages = Annotated[
    Path | None,
    typer.Option("--images", help="To calibrate and compare on; else calib/images/."),
]
MethodName = Annotated[
    Method | None,
    typer.Option("--method", help=f"Of calibration; else {DEFAULT_METHOD}, or as measured."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data", help="Labelled images to judge on; agreement without."),
]
MaxDrop = Annotated[
    float | None,
    typer.Option("--max-drop", help="Gate: points of mIoU or top-1 it may lose; else 1."),
]
MinAgreement = Annotated[
    float | None,
    typer.Option("--min-agreement", help="Gate without labels: share of decisions; else 0.99."),
]
Auto = Annotated[
    bool, typer.Option("--auto", help="Leave the worst products in float until it holds.")
]
With = Annotated[
    list[Group] | None,
    typer.Option("--with", help="Quantize that kind of product too; may be repeated."),
]
Without = Annotated[
    list[Group] | None,
    typer.Option("--without", help="Leave that kind in float; may be repeated."),
]
Keep = Annotated[
    list[str] | None,
    typer.Option("--keep", help="Leave the product of that name in float; repeatable."),
]
RandomData = Annotated[
    bool, typer.Option("--random-data", help="Calibrate on noise: proves nothing.")
]
GateImages = Annotated[
    int | None,
    typer.Option("--samples", min=1, help=f"Images to judge on; else {COMPARED}, or all."),
]


@dataclass(frozen=True)
class Wish:
    """All that was said about quantization on the command line."""

    options: QuantizeOptions
    evidence: Evidence
    calibration: CalibrationOptions | None = None
    ranges: Path | None = None
    images: Path | None = None
    rest: Precision | None = None
    auto: bool = False

    @property
    def says_more(self) -> bool:
        """Whether anything was said that only a float graph can do."""
        usual = QuantizeOptions(self.options.precision)
        return self.options != usual or bool(self.calibration or self.ranges or self.auto)


def calibration_of(
    method: Method | None, images: Path | None, *, random_data: bool
) -> CalibrationOptions | None:
    """How to calibrate, if anything was said of it."""
    if random_data and images is not None:
        raise UsageError(
            "--images and --random-data contradict each other", "give one of the two"
        )
    if method is None and not random_data:
        return None
    return CalibrationOptions(method or DEFAULT_METHOD, random_data=random_data)


def quality_of(
    precision: Precision, max_drop: float | None, min_agreement: float | None
) -> Quality | None:
    """The gate, if one was given; points become shares."""
    if max_drop is None and min_agreement is None:
        return None
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise UsageError(
            f"nothing can lose {max_drop:g} points", "give points from 0 to 100, such as 0.5"
        )
    usual = QUALITY[precision]
    return Quality(
        usual.drop if max_drop is None else max_drop / 100,
        usual.agreement if min_agreement is None else min_agreement,
    )


def groups_of(extra: list[Group] | None, without: list[Group] | None) -> tuple[Group, ...]:
    """The usual kinds of products, more and fewer."""
    wanted = {*DEFAULT_GROUPS, *(extra or ())} - set(without or ())
    return tuple(group for group in Group if group in wanted)


def quantized_graph(
    graph: Artefact, wish: Wish, terminal: Terminal, folder: Path = EXPORT_DIR
) -> Artefact:
    """What becomes of a float graph; a quantized one is judged again."""
    precision = wish.options.precision
    if graph.manifest.precision is precision:
        if wish.says_more:
            raise UsageError(
                f"{graph.path.name} is quantized already",
                "give the float32 graph, or leave out what says how to quantize",
            )
        if graph.manifest.quantization and graph.manifest.quantization.random_data:
            terminal.warn("calibrated on noise: the answers mean nothing")
        reference = quantizing.source_of(graph)
        return judging.judge_again(graph, reference, wish.evidence, terminal)
    check_floats(graph, wish.rest)
    ranges = quantizing.find_ranges(graph, wish.ranges, wish.images, wish.calibration, terminal)
    if ranges[1].random_data:
        terminal.warn("calibrated on noise: the answers mean nothing")
    return quantizing.quantize(
        graph,
        ranges,
        wish.options,
        wish.evidence,
        terminal,
        rest=wish.rest,
        auto=wish.auto,
        folder=folder,
    )


def check_floats(graph: Artefact, rest: Precision | None) -> None:
    """Refuse a graph that cannot be quantized, before anything is measured."""
    from hrvit_deploy.calib.quantize import check_float

    check_float(graph)
    if rest is Precision.FP32 and graph.manifest.precision is Precision.FP16:
        raise UsageError(
            f"{graph.path.name} is fp16 and cannot become fp32", "give the float32 graph"
        )


def find_graph(
    path: Path | None, precision: Precision, variant: str, terminal: Terminal
) -> Artefact:
    """The graph named, with or without a sidecar; or the newest that will do.

    A float32 graph comes before a quantized one: what was tried with other options must not
    be built by chance.
    """
    if path is not None:
        return given_graph(path, variant, terminal)
    try:
        return given_or_newest(None, terminal, Precision.FP32)
    except ArtefactError:
        return given_or_newest(None, terminal, precision)


def given_graph(path: Path, variant: str, terminal: Terminal) -> Artefact:
    """A graph by its path; one that another tool quantized needs no sidecar."""
    if path.suffix != ".onnx" or not path.is_file() or path.with_suffix(".json").exists():
        return open_artefact(path)
    from hrvit_deploy.adopted import adopt

    adopted = adopt(path, load_variant(variant))
    about = adopted.manifest.network
    terminal.warn(
        f"{path.name} has no sidecar: taken for HRViT-{about.variant.name} to {about.task}"
        f" {about.num_classes} classes, on images normalised as for ImageNet"
    )
    return adopted


def quantize(
    model: Annotated[
        Path | None, typer.Argument(help="fp32 or fp16 ONNX; else the newest fp32 one.")
    ] = None,
    fp8: Annotated[bool, typer.Option("--fp8", help="E4M3 in place of INT8.")] = False,
    ranges: RangesFile = None,
    images: CalibrationImages = None,
    method: MethodName = None,
    random_data: RandomData = False,
    rest: Annotated[
        Precision | None,
        typer.Option("--rest", help="Type of all else: fp32 or fp16; else the graph's."),
    ] = None,
    extra: With = None,
    without: Without = None,
    keep: Keep = None,
    auto: Auto = False,
    data: DataDir = None,
    max_drop: MaxDrop = None,
    min_agreement: MinAgreement = None,
    samples: GateImages = None,
    out: arg.OutDir = EXPORT_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Put INT8 or FP8 around a graph's products and judge what that costs."""
    precision = Precision.FP8 if fp8 else Precision.INT8
    wish = Wish(
        QuantizeOptions(precision, groups_of(extra, without), tuple(keep or ())),
        evidence(precision, data, images, samples, max_drop, min_agreement),
        calibration_of(method, images, random_data=random_data),
        ranges,
        images,
        check_rest(rest),
        auto,
    )
    with Terminal() as terminal:
        graph = given_or_newest(model, terminal, Precision.FP32)
        check_floats(graph, rest)
        made = quantized_graph(graph, wish, terminal, out)
        gate = made.manifest.gate
        missed = gate is not None and not gate.passed
        held = missed and judging.is_held(made, wish.evidence)
        if gate is not None and missed:
            terminal.warn(
                f"{judging.describe(gate)}"
                + ("; add --auto" if held else "; the weights are random, so this is told only")
            )
    show.quantized(made, as_json=as_json)
    if held:
        raise typer.Exit(1)


def sensitivity(
    model: Annotated[
        Path | None, typer.Argument(help="fp32 ONNX; else the newest in export/.")
    ] = None,
    fp8: Annotated[bool, typer.Option("--fp8", help="E4M3 in place of INT8.")] = False,
    ranges: RangesFile = None,
    images: CalibrationImages = None,
    method: MethodName = None,
    extra: With = None,
    without: Without = None,
    data: DataDir = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Images that each product is tried on.")
    ] = searching.SENSITIVITY_IMAGES,
    out: arg.OutDir = CALIB_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Quantize one product at a time and rank them by what that costs."""
    precision = Precision.FP8 if fp8 else Precision.INT8
    options = QuantizeOptions(precision, groups_of(extra, without))
    judged = evidence(precision, data, images, samples, None, None)
    with Terminal() as terminal:
        graph = given_or_newest(model, terminal, Precision.FP32)
        check_floats(graph, None)
        calibration = calibration_of(method, images, random_data=False)
        file, held = quantizing.find_ranges(graph, ranges, images, calibration, terminal)
        with searching.switched(graph, held, options) as opened:
            found = searching.sensitivity_of(graph, opened, judged, terminal, images=samples)
    about = {
        "model": graph.path.name,
        "model_sha256": graph.manifest.sha256,
        "precision": precision,
        "ranges": file,
        "method": held.method,
    }
    path = out / f"{graph.path.stem}-{precision}-sensitivity.json"
    show.sensitivity(found, path, about, as_json=as_json)


def evidence(
    precision: Precision,
    data: Path | None,
    images: Path | None,
    samples: int | None,
    max_drop: float | None,
    min_agreement: float | None,
    *,
    compared: int | None = COMPARED,
) -> Evidence:
    """What to judge on: labels, or the calibration's images, or the bundled ones."""
    from hrvit_deploy.calib.images import DEFAULT_FOLDER

    if data is not None and min_agreement is not None:
        raise UsageError(
            "labelled images are judged by mIoU or top-1, not by agreement",
            "give --max-drop with --data, or leave --data out",
        )
    if data is None and max_drop is not None:
        raise UsageError(
            "there is no mIoU to drop without labelled images",
            "give them with --data DIR, or --min-agreement instead",
        )
    if images is not None and not images.exists():
        raise InputError(f"there is no {images}", "check --images")
    folder = images
    if images is None and quantizing.holds_images(DEFAULT_FOLDER):
        folder = DEFAULT_FOLDER
    if images is not None and images.suffix == ".npz":
        # Its arrays may be prepared already, for a graph of one type.
        folder = None
    quality = quality_of(precision, max_drop, min_agreement)
    pictures = Pictures(folder, samples or compared)
    fresh = data is not None or images is not None
    return Evidence(data, pictures, samples, quality, fresh)


def check_rest(rest: Precision | None) -> Precision | None:
    """That type, if something may be left in it."""
    allowed = (Precision.FP16, Precision.FP32)
    if rest is None or rest in allowed:
        return rest
    raise UsageError(f"what is not quantized cannot be {rest}", f"give --rest {join(allowed)}")


def report(artefact: Artefact) -> dict[str, Any]:
    """What ``build-trt`` adds to its object: the verdict, and what is in eight bits."""
    engine, gate = artefact.manifest.engine, artefact.manifest.gate
    assert engine is not None
    shown: dict[str, Any] = {
        "gate": plain(gate) if gate else None,
        "weight_bytes": engine.weight_bytes,
    }
    if artefact.manifest.quantization is None:
        return shown
    precision = artefact.manifest.precision
    return shown | {
        f"{precision}_layers": engine.quantized_layers,
        f"{precision}_weight_bytes": engine.quantized_bytes,
        "quantization": plain(artefact.manifest.quantization),
    }
