"""Options are refused where they cannot be meant, with what to give instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrvit_deploy.errors import UsageError
from hrvit_deploy.options import (
    DECIDING,
    OUTPUT_FORMATS,
    BatchProfile,
    BuildOptions,
    ExportOptions,
    ImageSize,
    OutputFormat,
    Precision,
    Task,
    check_output,
    check_size,
    join,
    parse_batch,
    parse_profile,
    parse_size,
)


def refusal(function: Callable[..., Any], *arguments: Any, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        function(*arguments, **options)
    assert caught.value.hint
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("224", (224, 224)),
        ("512x1024", (512, 1024)),
        ("480X640", (480, 640)),
        (" 32 ", (32, 32)),
        ("1088x1920", (1088, 1920)),
    ],
)
def test_sizes_are_height_by_width(text: str, size: tuple[int, int]) -> None:
    parsed = parse_size(text)
    assert parsed == size
    assert (parsed.height, parsed.width) == size
    assert str(parsed) == f"{size[0]}x{size[1]}"


@pytest.mark.parametrize("text", ["", "x", "224x", "224x224x3", "2.5", "-32", "big", "224,224"])
def test_other_words_are_no_sizes(text: str) -> None:
    error = refusal(parse_size, text)
    assert error.message == f"{text!r} is not an image size"
    assert error.hint == "write HEIGHTxWIDTH such as 512x1024, or 224"


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("225", "224x224 or 256x256"),
        ("720x1280", "704x1280 or 736x1280"),
        ("1080x1920", "1056x1920 or 1088x1920"),
        ("500x700", "480x672 or 512x704"),
        ("1", "32x32"),
        ("0x640", "32x640"),
    ],
)
def test_sizes_off_the_grid_come_with_the_next_that_fit(text: str, fitting: str) -> None:
    error = refusal(parse_size, text)
    assert "multiples of 32" in error.message
    assert error.hint == f"take {fitting}, and pad or resize the images to it"


@given(st.integers(-100, 5000), st.integers(-100, 5000))
def test_sizes_fit_exactly_where_32_divides_them(height: int, width: int) -> None:
    size = ImageSize(height, width)
    if height > 0 and width > 0 and height % 32 == 0 == width % 32:
        assert check_size(size) == size
        return
    named = refusal(check_size, size).hint.split(",")[0].removeprefix("take ").split(" or ")
    for text in named:
        fitting = parse_size(text)
        assert all(abs(a - max(b, 1)) < 32 for a, b in zip(fitting, size, strict=True))


@pytest.mark.parametrize(("text", "batch"), [("dynamic", None), ("1", 1), ("16", 16)])
def test_batches_are_fixed_or_dynamic(text: str, batch: int | None) -> None:
    assert parse_batch(text) == batch


@pytest.mark.parametrize("text", ["0", "-1", "", "two", "1.5", "²", "None", "1 2"])
def test_other_words_are_no_batches(text: str) -> None:
    error = refusal(parse_batch, text)
    assert error.message == f"{text!r} is not a batch"
    assert "dynamic" in error.hint


def test_profiles_are_ordered() -> None:
    assert parse_profile("1,4,8") == BatchProfile(1, 4, 8)
    assert parse_profile(" 2, 2 ,2 ") == BatchProfile(2, 2, 2)
    error = refusal(parse_profile, "4,1,8")
    assert error.message == "batch profile 4,1,8 is not ordered"
    assert refusal(parse_profile, "0,1,2").message == "batch profile 0,1,2 is not ordered"


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "a,b,c", "1,²,3", "1,-2,3"])
def test_other_words_are_no_profiles(text: str) -> None:
    error = refusal(parse_profile, text)
    assert error.message == f"{text!r} is not a batch profile"
    assert error.hint == "give min,opt,max such as 1,4,8"


def test_defaults_are_real() -> None:
    options = ExportOptions()
    assert (options.size, options.batch, options.opset) == ((224, 224), 1, 20)
    assert options.precision is Precision.FP32
    assert options.output_format is OutputFormat.LOGITS
    assert options.simplify
    assert BuildOptions().precision is Precision.FP16
    assert BuildOptions().profile == BatchProfile(1, 1, 8)


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"size": ImageSize(33, 32)}, "33x32 does not fit", "32x32 or 64x32"),
        ({"batch": 0}, "a batch of 0 holds no image", "from 1"),
        ({"batch": -2}, "a batch of -2", "from 1"),
        ({"opset": 16}, "opset 16 is too old", "--opset 17"),
        ({"precision": Precision.INT8}, "not int8", "build-trt --int8"),
        ({"precision": Precision.FP8}, "not fp8", "build-trt --fp8"),
        ({"precision": Precision.BF16}, "opset 20 has no bfloat16 convolution", "--opset 22"),
        ({"half_io": True}, "half inputs and outputs need a half graph", "--precision fp16"),
    ],
)
def test_exports_that_cannot_be_meant(changes: dict[str, Any], message: str, hint: str) -> None:
    error = refusal(ExportOptions, **changes)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"workspace_mib": -1}, "no workspace of -1 MiB", "from 1"),
        ({"optimization_level": 6}, "optimization level 6", "from 0"),
        ({"optimization_level": -1}, "optimization level -1", "to 5"),
        ({"compute_capabilities": ("8.9", "sm_90")}, "'sm_90'", "8.9 or 12.0"),
        ({"compute_capabilities": ("89",)}, "'89'", "8.9 or 12.0"),
    ],
)
def test_builds_that_cannot_be_meant(changes: dict[str, Any], message: str, hint: str) -> None:
    error = refusal(BuildOptions, **changes)
    assert message in error.message
    assert hint in error.hint


def test_stripped_weights_must_be_refitted() -> None:
    assert BuildOptions(strip_weights=True).refit
    assert not BuildOptions().refit


def test_options_are_frozen_and_equal_by_value() -> None:
    with pytest.raises(AttributeError):
        ExportOptions().opset = 18  # type: ignore[misc]
    assert ExportOptions(opset=18) == ExportOptions(opset=18)
    assert hash(BuildOptions()) == hash(BuildOptions())


@pytest.mark.parametrize("task", DECIDING)
@pytest.mark.parametrize("output", OutputFormat)
def test_each_task_has_its_outputs(task: Task, output: OutputFormat) -> None:
    if output in OUTPUT_FORMATS[task]:
        assert check_output(task, output, 10) is output
        return
    error = refusal(check_output, task, output, 10)
    assert error.message == f"a {task} network has no output {output}"
    assert error.hint == f"choose {join(OUTPUT_FORMATS[task])}"


def test_a_class_map_names_at_most_256_classes() -> None:
    assert check_output(Task.SEGMENT, OutputFormat.CLASSMAP, 256) is OutputFormat.CLASSMAP
    error = refusal(check_output, Task.SEGMENT, OutputFormat.CLASSMAP, 257)
    assert error.message == "257 classes do not fit a uint8 class map"
    assert check_output(Task.SEGMENT, OutputFormat.LOGITS, 257) is OutputFormat.LOGITS


@pytest.mark.parametrize(
    ("names", "text"), [("", ""), ("a", "a"), ("ab", "a or b"), ("abc", "a, b or c")]
)
def test_names_are_joined_as_people_do(names: str, text: str) -> None:
    assert join(names) == text
