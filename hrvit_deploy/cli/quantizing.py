"""``quantize`` and ``sensitivity``: a float graph to a judged INT8 or FP8 one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hrvit_deploy import quantizing
from hrvit_deploy.artefact import (
    ELSEWHERE,
    Artefact,
    Kind,
    Manifest,
    newest,
    open_artefact,
    plain,
)
from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli import show_quantizing as show
from hrvit_deploy.cli.console import Terminal
from hrvit_deploy.errors import UsageError
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
)
from hrvit_deploy.pipeline import CALIB_DIR, EXPORT_DIR, Pictures
from hrvit_deploy.quantizing import Evidence

RangesFile = Annotated[
    Path | None,
    typer.Option("--ranges", help="File of calibrate; else images or ranges in calib/."),
]
CalibrationImages = Annotated[
    Path | None,
    typer.Option("--images", help="To calibrate and compare on; else calib/images/."),
]
MethodName = Annotated[Method, typer.Option("--method", help="Of calibration.")]
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
    int, typer.Option("--samples", min=1, help="Images to compare on, without labels.")
]


@dataclass(frozen=True)
class Wish:
    """All that was said about quantization on the command line."""

    options: QuantizeOptions
    calibration: CalibrationOptions
    evidence: Evidence
    ranges: Path | None = None
    images: Path | None = None
    rest: Precision | None = None
    auto: bool = False

    @property
    def says_more(self) -> bool:
        """Whether anything was said that only quantization listens to."""
        usual = QuantizeOptions(self.options.precision)
        return bool(
            self.options != usual
            or self.calibration != CalibrationOptions()
            or self.ranges
            or self.auto
        )

    @property
    def particular(self) -> bool:
        """Whether a graph quantized before may not be what is meant."""
        return bool(self.says_more or self.images)


def quality_of(
    precision: Precision, max_drop: float | None, min_agreement: float | None
) -> Quality | None:
    """The gate, if one was given; points become shares."""
    if max_drop is None and min_agreement is None:
        return None
    usual = QUALITY[precision]
    return Quality(
        usual.drop if max_drop is None else max_drop / 100,
        usual.agreement if min_agreement is None else min_agreement,
    )


def groups_of(extra: list[Group] | None, without: list[Group] | None) -> tuple[Group, ...]:
    """The usual kinds of products, more and fewer."""
    wanted = {*DEFAULT_GROUPS, *(extra or ())} - set(without or ())
    return tuple(group for group in Group if group in wanted)


def quantized_graph(graph: Artefact, wish: Wish, terminal: Terminal) -> Artefact:
    """The graph itself if it is quantized already, else what becomes of it."""
    precision = wish.options.precision
    if graph.manifest.precision is precision:
        if graph.manifest.quantization and graph.manifest.quantization.method == ELSEWHERE:
            terminal.note(f"{graph.path.name} came quantized: it is built as it is, unjudged")
        return graph
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
        folder=graph.path.parent,
    )


def find_graph(path: Path | None, wish: Wish, variant: str, terminal: Terminal) -> Artefact:
    """The graph named, with or without a sidecar; or the newest that will do."""
    if path is not None:
        return given_graph(path, variant, terminal)
    wanted = wish.options.precision

    def usable(manifest: Manifest) -> bool:
        if manifest.precision is Precision.FP32:
            return True
        good = manifest.gate is None or manifest.gate.passed
        return manifest.precision is wanted and good and not wish.particular

    artefact = newest(EXPORT_DIR, Kind.ONNX, usable)
    terminal.note(f"taking the newest graph, {artefact.path}")
    return artefact


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
    method: MethodName = DEFAULT_METHOD,
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
    samples: GateImages = 32,
    as_json: arg.AsJson = False,
) -> None:
    """Put INT8 or FP8 around a graph's products and judge what that costs."""
    precision = Precision.FP8 if fp8 else Precision.INT8
    wish = Wish(
        QuantizeOptions(precision, groups_of(extra, without), tuple(keep or ())),
        CalibrationOptions(method, random_data=random_data),
        evidence(precision, data, images, samples, max_drop, min_agreement),
        ranges,
        images,
        check_rest(rest),
        auto,
    )
    with Terminal() as terminal:
        made = quantized_graph(_float_graph(model, terminal), wish, terminal)
    show.quantized(made, as_json=as_json)
    gate = made.manifest.gate
    if gate is not None and not gate.passed:
        raise typer.Exit(1)


def sensitivity(
    model: Annotated[
        Path | None, typer.Argument(help="fp32 ONNX; else the newest in export/.")
    ] = None,
    fp8: Annotated[bool, typer.Option("--fp8", help="E4M3 in place of INT8.")] = False,
    ranges: RangesFile = None,
    images: CalibrationImages = None,
    method: MethodName = DEFAULT_METHOD,
    extra: With = None,
    without: Without = None,
    data: DataDir = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Images that each product is tried on.")
    ] = quantizing.SENSITIVITY_IMAGES,
    out: arg.OutDir = CALIB_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Quantize one product at a time and rank them by what that costs."""
    precision = Precision.FP8 if fp8 else Precision.INT8
    options = QuantizeOptions(precision, groups_of(extra, without))
    judged = evidence(precision, data, images, samples, None, None)
    with Terminal() as terminal:
        graph = _float_graph(model, terminal)
        _, held = quantizing.find_ranges(
            graph, ranges, images, CalibrationOptions(method), terminal
        )
        with quantizing.switched(graph, held, options) as opened:
            found = quantizing.sensitivity_of(graph, opened, judged, terminal, images=samples)
    show.sensitivity(found, out / f"{graph.path.stem}-sensitivity.json", as_json=as_json)


def _float_graph(path: Path | None, terminal: Terminal) -> Artefact:
    if path is not None:
        return open_artefact(path)
    artefact = newest(
        EXPORT_DIR, Kind.ONNX, lambda manifest: manifest.precision is Precision.FP32
    )
    terminal.note(f"taking the newest fp32 graph, {artefact.path}")
    return artefact


def evidence(
    precision: Precision,
    data: Path | None,
    images: Path | None,
    samples: int,
    max_drop: float | None,
    min_agreement: float | None,
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
    folder = images if images is not None and images.is_dir() else None
    if images is None and quantizing.holds_images(DEFAULT_FOLDER):
        folder = DEFAULT_FOLDER
    quality = quality_of(precision, max_drop, min_agreement)
    return Evidence(data, Pictures(folder, samples), None, quality)


def check_rest(rest: Precision | None) -> Precision | None:
    """That type, if something may be left in it."""
    if rest in (None, Precision.FP32, Precision.FP16):
        return rest
    raise UsageError(f"what is not quantized cannot be {rest}", "give --rest fp32 or fp16")


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
