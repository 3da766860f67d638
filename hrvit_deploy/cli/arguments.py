"""Options that several commands share, each described once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hrvit_deploy.datasets import LabelOrientation
from hrvit_deploy.inference.fit import Fit
from hrvit_deploy.options import (
    BFLOAT16_OPSET,
    DEFAULT_METHOD,
    DEFAULT_OPSET,
    MIN_OPSET,
    Backend,
    Group,
    InputFormat,
    Method,
    OutputFormat,
    Target,
    Task,
)
from hrvit_deploy.runners.spec import Implementation, InferencePrecision, Provider

Option = typer.Option
# Images to compare on where nobody says how many.
USUAL_COUNT = 32


class FloatPrecision(StrEnum):
    """Types of a graph that is exported."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class RestPrecision(StrEnum):
    """Types of what is not quantized."""

    FP32 = "fp32"
    FP16 = "fp16"


VariantName = Annotated[
    str | None,
    Option(
        "--variant",
        help="Network: b1, b2, b3, or a .toml or .json file that describes one.",
        show_default="the checkpoint's, else b1",
    ),
]
TaskName = Annotated[
    Task | None,
    Option(
        "--task",
        help="Head of the network: a class an image, a class a pixel, or none: the backbone's"
        " four feature maps.",
        show_default="the checkpoint's, else classify",
    ),
]
CheckpointFile = Annotated[
    Path | None,
    Option(
        "--checkpoint",
        help="File of trained weights: .pth, .pt or .safetensors, or the index of several.",
        show_default="random weights",
    ),
]
EntryName = Annotated[
    str | None,
    Option(
        "--checkpoint-entry",
        help="Where in the checkpoint the weights are, as model_ema; inspect lists them.",
        show_default="the averaged ones, else the only or the usual one",
    ),
]
IgnoreUnexpected = Annotated[
    bool,
    Option(
        "--ignore-unexpected",
        help="Leave out weights that the network has no place for.",
        show_default="refused",
    ),
]
MovedCheckpoint = Annotated[
    Path | None,
    Option(
        "--checkpoint",
        help="File of the weights that PyTorch takes, where they have moved since the export.",
        show_default="where they lay then",
    ),
]
Classes = Annotated[
    int | None,
    Option(
        "--num-classes",
        min=1,
        help="Classes that the network distinguishes.",
        show_default="the checkpoint's, else 1000 or 150",
    ),
]
Seed = Annotated[int, Option("--seed", min=0, help="Seed of random weights.")]
Size = Annotated[
    str | None,
    Option(
        "--size",
        help="Height and width of the network's input, in pixels and multiples of 32, as"
        " 512x1024; one number for both.",
        show_default="224x224 to classify, else 512x512",
    ),
]
BatchText = Annotated[str, Option("--batch", help="Images per run: a number, or dynamic.")]
PrecisionName = Annotated[
    FloatPrecision,
    Option("--precision", help="Type of the graph; quantize makes INT8 and FP8 of it."),
]
Opset = Annotated[
    int | None,
    Option(
        "--opset",
        help=f"ONNX operator set of the graph, from {MIN_OPSET}.",
        show_default=f"{DEFAULT_OPSET}, or {BFLOAT16_OPSET} for bf16",
    ),
]
InputName = Annotated[
    InputFormat,
    Option("--input", help="Input of the graph: normalised floats, or pixels as decoded."),
]
OutputName = Annotated[
    OutputFormat,
    Option(
        "--output",
        help="Output of the graph: scores, probabilities (to classify), classes of pixels, or"
        " scores at a quarter of the size (both to segment); features without a head.",
    ),
]
HalfIo = Annotated[
    bool,
    Option(
        "--half-io",
        help="Let a fp16 or bf16 graph take and return that type.",
        show_default="float32 outside",
    ),
]
Mean = Annotated[
    str | None,
    Option(
        "--mean",
        help="Mean of the training images as R,G,B, on a scale of 0 to 255.",
        show_default="ImageNet's",
    ),
]
Std = Annotated[
    str | None,
    Option(
        "--std",
        help="Standard deviation of the training images as R,G,B, on a scale of 0 to 255.",
        show_default="ImageNet's",
    ),
]
Without = Annotated[
    list[str] | None,
    Option("--without", help="Rewrite to switch off; repeatable.", show_default="none"),
]
With = Annotated[
    list[str] | None,
    Option("--with", help="Optional rewrite to switch on; repeatable.", show_default="none"),
]
For = Annotated[
    Target | None,
    Option("--for", help="Runtime to lay the graph out for.", show_default="one graph for all"),
]
NoSimplify = Annotated[
    bool, Option("--no-simplify", help="Leave onnxsim out.", show_default="simplify")
]
ImageFolder = Annotated[
    Path | None,
    Option(
        "--images",
        help="Folder of images to compare on.",
        show_default="crops of two bundled photographs",
    ),
]
Samples = Annotated[
    int | None,
    Option(
        "--samples",
        min=1,
        help="Images to compare on at most.",
        show_default="8; fewer above 512x512, but 2",
    ),
]
OutDir = Annotated[Path, Option("--out", help="Folder to write to.")]
AsJson = Annotated[
    bool,
    Option("--json", help="Print one JSON object on standard output, and nothing else there."),
]
ArtefactPath = Annotated[
    Path | None,
    typer.Argument(help="An .onnx or .plan.", show_default="the newest graph in export/"),
]
FloatGraph = Annotated[
    Path | None,
    typer.Argument(help="A float32 .onnx.", show_default="the newest one in export/"),
]
ProviderName = Annotated[
    Provider,
    Option(
        "--provider",
        help="What runs graphs: onnxruntime on the cpu, by cuda or by tensorrt; or openvino on"
        " the CPU. Plans run in TensorRT.",
    ),
]
InferencePrecisionName = Annotated[
    InferencePrecision,
    Option(
        "--inference-precision",
        help="Type that OpenVINO computes in: float32, or the one its device is fastest in.",
    ),
]
Threads = Annotated[
    int | None,
    Option("--threads", min=1, help="CPU threads.", show_default="one per physical core"),
]
BackendName = Annotated[
    Backend,
    Option(
        "--backend",
        help="Library that builds; auto takes TensorRT if it can build here, else"
        " TensorRT-RTX.",
    ),
]
RangesFile = Annotated[
    Path | None,
    Option(
        "--ranges",
        help="File of ranges that calibrate wrote.",
        show_default="those in calib/, or measured now",
    ),
]
CalibrationImages = Annotated[
    Path | None,
    Option(
        "--images",
        help="Folder, .txt list or .npz of images to calibrate and compare on.",
        show_default="calib/images/",
    ),
]
EngineImages = Annotated[
    Path | None,
    Option(
        "--images",
        help="Folder, .txt list or .npz of images to calibrate and compare on.",
        show_default="calib/images/, or to compare, crops of two bundled photographs",
    ),
]
MethodName = Annotated[
    Method | None,
    Option(
        "--method",
        help="How calibration chooses a range from a histogram.",
        show_default=f"{DEFAULT_METHOD}, or as measured before",
    ),
]
DataDir = Annotated[
    Path | None,
    Option(
        "--data",
        help="Folder of labelled images to check quality on.",
        show_default="none: agreement with the float32 graph",
    ),
]
LabelsDrawn = Annotated[
    LabelOrientation | None,
    Option(
        "--labels",
        help="Pixels that label maps are drawn on where EXIF turns an image.",
        show_default="turned, with a warning",
    ),
]
LabelsFrom = Annotated[
    int | None,
    Option(
        "--labels-from",
        min=0,
        max=1,
        help="Number of the first class in label maps: 0, or 1 where 0 is unlabelled"
        " (reduce_zero_label).",
        show_default="1 for ADE20K, else 0",
    ),
]
MaxDrop = Annotated[
    float | None,
    Option(
        "--max-drop",
        help="Quality gate with --data: points of mIoU or top-1 that may be lost.",
        show_default="1, or 0.2 for fp16",
    ),
]
MinAgreement = Annotated[
    float | None,
    Option(
        "--min-agreement",
        help="Quality gate without --data: least agreement with the float32 graph's decisions,"
        " 0 to 1, as the mean intersection over union of its classes.",
        show_default="0.95, 0.93 for fp8, or 0.99 for fp16",
    ),
]
AcceptParity = Annotated[
    bool,
    Option(
        "--accept-parity",
        help="Take what fails its comparison or quality gate, or cannot be judged; its sidecar,"
        " and those of all that is made from it, say so.",
        show_default="refuse it",
    ),
]
Auto = Annotated[
    bool,
    Option(
        "--auto",
        help="Leave the worst products in float until the quality gate holds.",
        show_default="quantize all",
    ),
]
WithGroup = Annotated[
    list[Group] | None,
    Option("--with", help="Kind of product to quantize, too; repeatable.", show_default="none"),
]
WithoutGroup = Annotated[
    list[Group] | None,
    Option(
        "--without", help="Kind of product to leave in float; repeatable.", show_default="none"
    ),
]
Keep = Annotated[
    list[str] | None,
    Option(
        "--keep", help="Name of a product to leave in float; repeatable.", show_default="none"
    ),
]
RandomData = Annotated[
    bool,
    Option(
        "--random-data",
        help="Calibrate on noise, which proves nothing.",
        show_default="on images",
    ),
]
GateImages = Annotated[
    int | None,
    Option(
        "--samples",
        min=1,
        help="Images to check quality on at most.",
        show_default=f"{USUAL_COUNT}, or all labelled ones",
    ),
]
Fp8 = Annotated[bool, Option("--fp8", help="Multiply in FP8 (E4M3).", show_default="in INT8")]
RunnerName = Annotated[
    Implementation,
    Option(
        "--runner",
        help="What computes: the artefact, or the network it came from in PyTorch, eager or"
        " compiled.",
    ),
]
FitName = Annotated[
    Fit,
    Option(
        "--fit",
        help="How an image becomes the input: resized, resized and padded, or through windows.",
    ),
]
Stride = Annotated[
    str | None,
    Option(
        "--stride",
        help="Pixels from one window to the next, as 768 or 384x768.",
        show_default="3/4 of a window",
    ),
]
Flip = Annotated[
    bool,
    Option("--flip", help="Average with the mirrored image.", show_default="not mirrored"),
]
Scales = Annotated[
    str,
    Option(
        "--scales",
        help="Factors to resize each image by and average over, as 0.75,1; with windows.",
    ),
]
ClassesName = Annotated[
    str,
    Option(
        "--classes",
        help="Names of classes: ade20k, cityscapes, or a file with a name a line.",
        show_default="the artefact's",
    ),
]
