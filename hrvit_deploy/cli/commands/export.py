"""``export``: a network to a checked ONNX graph."""

from __future__ import annotations

from dataclasses import replace

from hrvit_deploy.cli import arguments as arg
from hrvit_deploy.cli.console import Terminal, exit_on_refusal
from hrvit_deploy.cli.parsing import parse_network
from hrvit_deploy.cli.render import tables
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.options import (
    BFLOAT16_OPSET,
    DEFAULT_OPSET,
    DEFAULT_SIZE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ExportOptions,
    InputFormat,
    OutputFormat,
    Precision,
    Task,
    parse_batch,
    parse_channels,
    parse_size,
)
from hrvit_deploy.outputs import require_writable
from hrvit_deploy.pipeline import quality_gate, stages
from hrvit_deploy.pipeline.stages import EXPORT_DIR


def export(
    variant: arg.VariantName = None,
    task: arg.TaskName = None,
    checkpoint: arg.CheckpointFile = None,
    entry: arg.EntryName = None,
    ignore_unexpected: arg.IgnoreUnexpected = False,
    num_classes: arg.Classes = None,
    size: arg.Size = None,
    batch: arg.BatchText = "1",
    precision: arg.PrecisionName = arg.FloatPrecision.FP32,
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
    accept_parity: arg.AcceptParity = False,
    out: arg.OutDir = EXPORT_DIR,
    as_json: arg.AsJson = False,
) -> None:
    """Export a network to ONNX and compare the graph with eager PyTorch."""
    spec = parse_network(
        variant,
        task,
        checkpoint,
        num_classes,
        seed=seed,
        entry=entry,
        ignore_unexpected=ignore_unexpected,
    )
    if opset is None:
        narrow = precision is arg.FloatPrecision.BF16
        opset = BFLOAT16_OPSET if narrow else DEFAULT_OPSET
    # Checked before the network is loaded, which takes seconds.
    options = ExportOptions(
        size=parse_size(size) if size else DEFAULT_SIZE[task or Task.CLASSIFY],
        batch=parse_batch(batch),
        opset=opset,
        precision=Precision(precision),
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
    require_writable(out, text=True)
    with Terminal() as terminal:
        trained = stages.load(spec, terminal)
        if not size:
            options = replace(options, size=DEFAULT_SIZE[trained.described.built_task])
        artefact = stages.export(
            trained,
            options,
            out,
            ImageSource(images, samples),
            terminal,
            accept=accept_parity,
        )
        quality_gate.tell(artefact, terminal)
    tables.print_artefact(artefact, as_json=as_json)
    exit_on_refusal(artefact)
