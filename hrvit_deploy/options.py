"""The options of each stage: frozen, validated once, built on any machine."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hrvit_deploy.errors import UsageError

# The coarsest map is 1/32 of the image; fusions line up only at its multiples.
SIZE_MULTIPLE = 32
# LayerNormalization became one operator in opset 17.
MIN_OPSET = 17
DEFAULT_OPSET = 20
# The newest opset that every onnxruntime this package supports has been seen to read.
ONNXRUNTIME_OPSET = 22
# Convolutions take bfloat16 from this one on.
BFLOAT16_OPSET = 22


class Task(StrEnum):
    """What the network decides: one class per image, one per pixel, or none.

    ``features`` is the backbone alone, whose four feature maps another program reads.
    """

    CLASSIFY = "classify"
    SEGMENT = "segment"
    FEATURES = "features"


# Those with a head, whose outputs decide a class.
DECIDING = (Task.CLASSIFY, Task.SEGMENT)


class Precision(StrEnum):
    """The type that products and convolutions run in."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"


# Eight bits and a scale, in place of a narrower type throughout.
QUANTIZED = (Precision.INT8, Precision.FP8)


class InputFormat(StrEnum):
    """``B x 3 x H x W`` float32, normalised; or ``B x H x W x 3`` uint8, as decoded."""

    FLOAT_NCHW = "float-nchw"
    UINT8_NHWC = "uint8-nhwc"


class OutputFormat(StrEnum):
    """What the graph returns; ``probabilities`` classifies, the maps segment.

    ``features`` are the backbone's four maps, at 1/4 to 1/32 of the input's size.
    """

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    CLASSMAP = "classmap"
    LOGITS_QUARTER = "logits-quarter"
    FEATURES = "features"


class Backend(StrEnum):
    """Which builder makes the plan."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class HardwareCompatibility(StrEnum):
    """Which other GPUs of the build's kind may run the plan (TensorRT only)."""

    NONE = "none"
    AMPERE_PLUS = "ampere-plus"
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"


OUTPUT_FORMATS = {
    Task.CLASSIFY: (OutputFormat.LOGITS, OutputFormat.PROBABILITIES),
    Task.SEGMENT: (OutputFormat.LOGITS, OutputFormat.CLASSMAP, OutputFormat.LOGITS_QUARTER),
    Task.FEATURES: (OutputFormat.FEATURES,),
}
DEFAULT_CLASSES = {Task.CLASSIFY: 1000, Task.SEGMENT: 150, Task.FEATURES: 0}
# Per channel, RGB, on a 0..255 scale.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
# Classes that a uint8 class map can name.
MAX_CLASSMAP_CLASSES = 256


class ImageSize(NamedTuple):
    """Height and width of the network's input, in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


DEFAULT_SIZE = {
    Task.CLASSIFY: ImageSize(224, 224),
    Task.SEGMENT: ImageSize(512, 512),
    Task.FEATURES: ImageSize(512, 512),
}


def parse_size(text: str) -> ImageSize:
    """Parse ``"224"`` or ``"512x1024"`` (height x width) as a size.

    Raises:
        UsageError: Not a size, or one at which the network's maps do not line up.
    """
    return check_size(parse_any_size(text))


def parse_any_size(text: str) -> ImageSize:
    """Parse a size that another network than HRViT may take.

    Raises:
        UsageError: Not a size.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    if match is None:
        raise UsageError(
            f"{text!r} is not an image size", "write HEIGHTxWIDTH such as 512x1024, or 224"
        )
    return ImageSize(int(match[1]), int(match[2] or match[1]))


def check_size(size: ImageSize) -> ImageSize:
    """Return that size, if both sides are multiples of 32."""
    if size.height > 0 and size.width > 0 and not any(side % SIZE_MULTIPLE for side in size):
        return size
    below = ImageSize(*(max(side // SIZE_MULTIPLE, 1) * SIZE_MULTIPLE for side in size))
    above = ImageSize(*(max(-(-side // SIZE_MULTIPLE), 1) * SIZE_MULTIPLE for side in size))
    fitting = str(above) if below == above else f"{below} or {above}"
    raise UsageError(
        f"{size} does not fit: HRViT needs height and width in multiples of {SIZE_MULTIPLE}",
        f"take {fitting}, and pad or resize the images to it",
    )


def parse_channels(text: str) -> tuple[float, ...]:
    """Parse ``"123.7,116.3,103.5"`` as one number a channel, on a 0..255 scale.

    Raises:
        UsageError: Not three finite numbers.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UsageError(
            f"{text!r} is not a number for each channel",
            "give red, green and blue on a 0..255 scale, such as 123.675,116.28,103.53",
        )
    return numbers


def parse_batch(text: str) -> int | None:
    """Parse a fixed batch, or None for ``"dynamic"``.

    Raises:
        UsageError: Neither ``dynamic`` nor a whole number from 1.
    """
    if text == "dynamic":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(
            f"{text!r} is not a batch", "give a whole number from 1, or the word dynamic"
        )
    return int(text)


class Target(StrEnum):
    """A runtime whose fastest layout a graph may take."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


@dataclass(frozen=True)
class ExportOptions:
    """How the inference form becomes an ONNX graph.

    Attributes:
        size: Height and width of the input.
        batch: Images per run, or None for a dynamic batch.
        opset: Version of the ONNX operator set.
        precision: Type of the graph: FP32, FP16 or BF16.
        input_format: What the graph takes.
        output_format: What the graph returns.
        half_io: Whether a FP16 or BF16 graph also takes and returns that type.
        target: Runtime to choose rewrites for; None for the one graph that suits all.
        without: Names of rewrites to switch off.
        extra: Names of optional rewrites to switch on.
        simplify: Whether onnxsim runs over the graph.
        mean: Of the images it was trained on, per channel on a 0..255 scale.
        std: Their standard deviation, on the same scale.
    """

    size: ImageSize = DEFAULT_SIZE[Task.CLASSIFY]
    batch: int | None = 1
    opset: int = DEFAULT_OPSET
    precision: Precision = Precision.FP32
    input_format: InputFormat = InputFormat.FLOAT_NCHW
    output_format: OutputFormat = OutputFormat.LOGITS
    half_io: bool = False
    target: Target | None = None
    without: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    simplify: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.batch is not None and self.batch < 1:
            raise UsageError(
                f"a batch of {self.batch} holds no image", "give a whole number from 1"
            )
        if self.precision not in (Precision.FP32, Precision.FP16, Precision.BF16):
            raise UsageError(
                f"export writes fp32, fp16 or bf16 graphs, not {self.precision}",
                f"export in fp32, then build the engine with build-trt --{self.precision}",
            )
        if self.half_io and self.precision is Precision.FP32:
            raise UsageError(
                "half inputs and outputs need a half graph", "add --precision fp16 or bf16"
            )
        if self.opset < MIN_OPSET:
            raise UsageError(
                f"opset {self.opset} is too old: LayerNormalization is one operator from"
                f" {MIN_OPSET} on, and splits into overflowing parts before",
                f"take --opset {MIN_OPSET} or newer",
            )
        if self.precision is Precision.BF16 and self.opset < BFLOAT16_OPSET:
            raise UsageError(
                f"opset {self.opset} has no bfloat16 convolution",
                f"take --opset {BFLOAT16_OPSET} or newer",
            )


@dataclass(frozen=True)
class BatchProfile:
    """Smallest, usual and largest batch of a dynamic engine, in images."""

    min: int = 1
    opt: int = 1
    max: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise UsageError(
                f"batch profile {self.min},{self.opt},{self.max} is not ordered",
                "give min,opt,max with 1 <= min <= opt <= max, such as 1,4,8",
            )


def parse_profile(text: str) -> BatchProfile:
    """Parse ``"1,4,8"`` as smallest, usual and largest batch."""
    numbers = text.split(",")
    if len(numbers) != 3 or not all(n.strip().isdecimal() for n in numbers):
        raise UsageError(f"{text!r} is not a batch profile", "give min,opt,max such as 1,4,8")
    return BatchProfile(*map(int, numbers))


@dataclass(frozen=True)
class BuildOptions:
    """How an ONNX graph becomes a plan. Typing comes from the graph alone.

    Attributes:
        precision: The type asked for; the build fails if the plan has another.
        backend: Which builder to use.
        workspace_mib: Scratch memory the builder may plan with, in MiB; 0 is its own
            default.
        optimization_level: Builder effort from 0 to 5, or None for its own default.
        timing_cache: Reuse kernel timings kept beside the plan (TensorRT only).
        tf32: Let float32 products run in TF32.
        profile: Batch range of a dynamic engine.
        hardware_compatibility: Other GPUs that may run the plan (TensorRT only).
        version_compatible: Let later TensorRT versions run the plan.
        compute_capabilities: GPUs to build for, such as ``8.9`` (TensorRT-RTX only);
            empty for the builder's own list.
        refit: Keep weights replaceable.
        strip_weights: Leave the weights out of the plan, to be refitted on the target.
    """

    precision: Precision = Precision.FP16
    backend: Backend = Backend.AUTO
    workspace_mib: int = 0
    optimization_level: int | None = None
    timing_cache: bool = True
    tf32: bool = False
    profile: BatchProfile = BatchProfile()
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    version_compatible: bool = False
    compute_capabilities: tuple[str, ...] = ()
    refit: bool = False
    strip_weights: bool = False

    def __post_init__(self) -> None:
        if self.workspace_mib < 0:
            raise UsageError(
                f"there is no workspace of {self.workspace_mib} MiB",
                "give MiB from 1, or 0 for the builder's default",
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(
                f"optimization level {self.optimization_level} is not on the scale",
                "give a level from 0 (fast build) to 5 (fast engine)",
            )
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d+\.\d", capability):
                raise UsageError(
                    f"{capability!r} is not a compute capability", "write it as 8.9 or 12.0"
                )
        if self.strip_weights and not self.refit:
            object.__setattr__(self, "refit", True)


class Method(StrEnum):
    """How a range is chosen from its histogram; see docs/explanation/calibration.md."""

    ENTROPY = "entropy"
    PERCENTILE = "percentile"
    MINMAX = "minmax"
    MSE = "mse"


# Least in the mean square by its definition; docs/explanation/calibration.md weighs it
# against the others.
DEFAULT_METHOD = Method.MSE


@dataclass(frozen=True)
class CalibrationOptions:
    """How ranges are measured.

    Attributes:
        method: How a range is chosen from a histogram.
        samples: Images at most, taken evenly from all there are.
        percentile: Share of magnitudes kept unclipped, in percent; of that method alone.
        random_data: Calibrate on noise; the ranges and all made from them say so.
    """

    method: Method = DEFAULT_METHOD
    samples: int = 512
    percentile: float = 99.999
    random_data: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"cannot calibrate on {self.samples} images", "give 1 or more")
        if not 50 < self.percentile <= 100:
            raise UsageError(
                f"a percentile of {self.percentile} would clip most of every tensor",
                "give percent above 50 and up to 100, such as 99.99",
            )


class Group(StrEnum):
    """Kinds of products that quantization knows; see docs/explanation/quantization.md."""

    LINEAR = "linear"
    POINTWISE = "pointwise"
    DENSE = "dense"
    DEPTHWISE = "depthwise"
    ATTENTION = "attention"
    CLASSIFIER = "classifier"


# What loses little in eight bits and multiplies most.
DEFAULT_GROUPS = (Group.LINEAR, Group.POINTWISE, Group.DENSE)


@dataclass(frozen=True)
class QuantizeOptions:
    """Which products are quantized, and to what. The others keep the graph's type.

    Attributes:
        precision: INT8 or FP8 (E4M3).
        groups: Kinds of products to quantize.
        keep: Names of ONNX nodes left in float all the same.
    """

    precision: Precision = Precision.INT8
    groups: tuple[Group, ...] = DEFAULT_GROUPS
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in QUANTIZED:
            raise UsageError(f"{self.precision} is not quantized", f"take {join(QUANTIZED)}")
        if not self.groups:
            raise UsageError(
                "no kind of product is left to quantize", f"choose from {join(Group)}"
            )


def check_classes(task: Task, num_classes: int) -> int:
    """Return that number of classes, if a network can decide between them.

    Raises:
        UsageError: There is one: the largest of one score is always the first.
    """
    if num_classes == 1:
        raise UsageError(
            f"a network to {task} one class would decide for it everywhere",
            "two channels, nought and the score, decide as a score and a threshold do",
        )
    return num_classes


def check_output(task: Task, output: OutputFormat, num_classes: int) -> OutputFormat:
    """Return that output format, if the task has it.

    Raises:
        UsageError: The task cannot return it, or the classes do not fit its type.
    """
    check_classes(task, num_classes)
    allowed = OUTPUT_FORMATS[task]
    if output not in allowed:
        raise UsageError(
            f"a {task} network has no output {output!s}", f"choose {join(allowed)}"
        )
    if output is OutputFormat.CLASSMAP and num_classes > MAX_CLASSMAP_CLASSES:
        raise UsageError(
            f"{num_classes} classes do not fit a uint8 class map",
            f"export logits, or at most {MAX_CLASSMAP_CLASSES} classes",
        )
    return output


def join(names: Iterable[object]) -> str:
    """Return ``a, b or c``."""
    words = [str(name) for name in names]
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
