"""Options that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.inference.fit import Fit
from hrvit_deploy.options import (
    DEFAULT_METHOD,
    Backend,
    Group,
    InputFormat,
    Method,
    OutputFormat,
    Precision,
    Target,
    Task,
)
from hrvit_deploy.runners.spec import Implementation, InferencePrecision, Provider

Option = typer.Option
# Images to compare on where nobody says how many.
USUAL_COUNT = 32

VariantName = Annotated[
    str, Option("--variant", help="b1, b2, b3, or a .toml or .json file with another.")
]
TaskName = Annotated[
    Task | None,
    Option("--task", help="Which head; by default the checkpoint's, else classify."),
]
CheckpointFile = Annotated[
    Path | None,
    Option("--checkpoint", help="Weights as .pth, .pt or .safetensors; random without."),
]
Classes = Annotated[
    int | None,
    Option("--num-classes", min=1, help="By default the checkpoint's, else 1000 or 150."),
]
Seed = Annotated[int, Option("--seed", min=0, help="Of random weights.")]
Size = Annotated[
    str | None,
    Option("--size", help="HEIGHTxWIDTH in multiples of 32; else 224x224 or 512x512."),
]
BatchText = Annotated[str, Option("--batch", help="Images per run, or dynamic.")]
PrecisionName = Annotated[
    Precision, Option("--precision", help="Type of the graph: fp32, fp16 or bf16.")
]
Opset = Annotated[
    int | None, Option("--opset", help="ONNX operator set, from 17; else 20, or 22 for bf16.")
]
InputName = Annotated[
    InputFormat, Option("--input", help="Normalised floats, or pixels as decoded.")
]
OutputName = Annotated[
    OutputFormat,
    Option("--output", help="What the graph returns; classmap and quarter segment."),
]
HalfIo = Annotated[
    bool, Option("--half-io", help="A fp16 or bf16 graph takes and returns that type too.")
]
Mean = Annotated[
    str | None,
    Option("--mean", help="Of training images, R,G,B of 0..255; by default ImageNet's."),
]
Std = Annotated[str | None, Option("--std", help="Their deviation, likewise.")]
Without = Annotated[
    list[str] | None, Option("--without", help="Switch a rewrite off; may be repeated.")
]
With = Annotated[
    list[str] | None, Option("--with", help="Switch an optional rewrite on; may be repeated.")
]
For = Annotated[
    Target | None,
    Option("--for", help="Runtime to lay the graph out for; else it suits all of them."),
]
NoSimplify = Annotated[bool, Option("--no-simplify", help="Leave onnxsim out.")]
ImageFolder = Annotated[
    Path | None,
    Option("--images", help="Folder of images; by default crops of two photographs."),
]
Samples = Annotated[
    int | None,
    Option(
        "--samples",
        min=1,
        help="How many images at most; else 8, and fewer, but 2, of more than 512x512.",
    ),
]
OutDir = Annotated[Path, Option("--out", help="Folder the artefact goes to.")]
AsJson = Annotated[
    bool, Option("--json", help="One JSON object on standard output, nothing else there.")
]
ArtefactPath = Annotated[
    Path | None, typer.Argument(help="An .onnx or .plan; by default the newest in export/.")
]
ProviderName = Annotated[
    Provider,
    Option(
        "--provider",
        help="What runs ONNX artefacts: onnxruntime on the cpu, by cuda or by tensorrt; or"
        " OpenVINO itself, on the CPU.",
    ),
]
InferencePrecisionName = Annotated[
    InferencePrecision,
    Option(
        "--inference-precision",
        help="What OpenVINO computes in: float32, or what the device is fastest in.",
    ),
]
Threads = Annotated[
    int | None, Option("--threads", min=1, help="CPU threads; by default one per core.")
]
BackendName = Annotated[
    Backend, Option("--backend", help="auto takes TensorRT if it can build here, else RTX.")
]
RangesFile = Annotated[
    Path | None,
    Option("--ranges", help="File of calibrate; else images or ranges in calib/."),
]
CalibrationImages = Annotated[
    Path | None,
    Option("--images", help="To calibrate and compare on; else calib/images/."),
]
MethodName = Annotated[
    Method | None,
    Option("--method", help=f"Of calibration; else {DEFAULT_METHOD}, or as measured."),
]
DataDir = Annotated[
    Path | None,
    Option("--data", help="Labelled images to judge on; agreement without."),
]
MaxDrop = Annotated[
    float | None,
    Option("--max-drop", help="Gate: points of mIoU or top-1 it may lose; else 1."),
]
MinAgreement = Annotated[
    float | None,
    Option("--min-agreement", help="Gate without labels: share of decisions; else 0.99."),
]
Auto = Annotated[
    bool, Option("--auto", help="Leave the worst products in float until it holds.")
]
WithGroup = Annotated[
    list[Group] | None,
    Option("--with", help="Quantize that kind of product too; may be repeated."),
]
WithoutGroup = Annotated[
    list[Group] | None,
    Option("--without", help="Leave that kind in float; may be repeated."),
]
Keep = Annotated[
    list[str] | None,
    Option("--keep", help="Leave the product of that name in float; repeatable."),
]
RandomData = Annotated[
    bool, Option("--random-data", help="Calibrate on noise: proves nothing.")
]
GateImages = Annotated[
    int | None,
    Option("--samples", min=1, help=f"Images to judge on; else {USUAL_COUNT}, or all."),
]
RunnerName = Annotated[
    Implementation,
    Option("--runner", help="The artefact, or the network it came from, in PyTorch."),
]
FitName = Annotated[
    Fit, Option("--fit", help="How an image becomes the input: resized, padded, windows.")
]
Stride = Annotated[
    str | None,
    Option("--stride", help="Between windows, as 768 or 384x768; else 3/4 of one."),
]
Flip = Annotated[bool, Option("--flip", help="Look at each image mirrored, too.")]
Scales = Annotated[
    str, Option("--scales", help="Sizes to look at each image in, as 0.75,1; windows.")
]
ClassesName = Annotated[
    str,
    Option(
        "--classes", help="ade20k, cityscapes, or a file with a name a line; else as found."
    ),
]
