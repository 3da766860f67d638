"""What a graph is in, what it takes and what a run of it returned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from support.foreign_graph import foreign

from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.foreign.describe import (
    image_input,
    image_output,
    precision_of,
    producer_of,
)
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Precision, Task

PATH = Path("net.onnx")
SIZE = ImageSize(64, 96)


def of_type(model: ModelProto, kind: int) -> ModelProto:
    """The same graph with zero points of another type."""
    for tensor in model.graph.initializer:
        if tensor.name == "z":
            tensor.CopyFrom(helper.make_tensor("z", kind, [], [0]))
    return model


@pytest.mark.parametrize(
    ("model", "precision", "rest", "products"),
    [
        (foreign(quantized=False), Precision.FP32, None, 0),
        (foreign(quantized=False, dtype=np.float16), Precision.FP16, None, 0),
        (foreign(), Precision.INT8, Precision.FP32, 2),
        (foreign(dtype=np.float16), Precision.INT8, Precision.FP16, 2),
        (of_type(foreign(), TensorProto.UINT8), Precision.INT8, Precision.FP32, 2),
        (of_type(foreign(), TensorProto.FLOAT8E4M3FN), Precision.FP8, Precision.FP32, 2),
    ],
)
def test_the_precision_is_read_from_the_graph(
    model: ModelProto, precision: Precision, rest: Precision | None, products: int
) -> None:
    found, quantization = precision_of(model)
    assert found is precision
    assert (quantization is None) == (rest is None)
    if quantization is not None:
        assert (quantization.rest, quantization.products) == (rest, products)


def test_products_of_integers_are_quantized_ones() -> None:
    model = foreign(quantized=False)
    model.graph.node.append(helper.make_node("ConvInteger", ["a", "b"], ["c"]))
    assert precision_of(model)[0] is Precision.INT8


def test_weights_that_old_graphs_list_as_inputs_are_none() -> None:
    model = foreign(quantized=False)
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [8, 3, 4, 4]))
    taken = image_input(PATH, model, None)
    assert (taken.info.name, taken.size, taken.format) == (
        "image",
        SIZE,
        InputFormat.FLOAT_NCHW,
    )


def test_another_size_than_the_graph_s_is_refused() -> None:
    with pytest.raises(ArtefactError, match="64x96, not 32x32"):
        image_input(PATH, foreign(), ImageSize(32, 32))


def test_an_empty_size_is_refused() -> None:
    model = foreign()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "open"
    with pytest.raises(ArtefactError, match="no pixel"):
        image_input(PATH, model, ImageSize(0, 32))


def test_the_tool_is_named_without_what_a_terminal_would_obey() -> None:
    model = ModelProto(producer_name="tool\x1b[31m", producer_version="1\n2")
    assert producer_of(model) == "tool[31m 1 2"


LIKELY = np.full((1, 5), 0.2, np.float32)


@pytest.mark.parametrize(
    ("array", "kind", "task", "classes"),
    [
        (LIKELY * 7, OutputFormat.LOGITS, Task.CLASSIFY, 5),
        (LIKELY, OutputFormat.PROBABILITIES, Task.CLASSIFY, 5),
        (np.zeros((1, 5, 64, 96), np.float16), OutputFormat.LOGITS, Task.SEGMENT, 5),
        (np.zeros((1, 5, 16, 24), np.float32), OutputFormat.LOGITS_QUARTER, Task.SEGMENT, 5),
        (np.zeros((1, 64, 96), np.uint8), OutputFormat.CLASSMAP, Task.SEGMENT, 0),
        (np.zeros((1, 64, 96), np.int64), OutputFormat.CLASSMAP, Task.SEGMENT, 0),
        (np.zeros((1, 64, 96), np.float32), None, None, 0),
        (np.zeros((1, 1, 64, 96), np.float32), None, None, 0),
        (np.zeros((1, 5, 8, 12), np.float32), None, None, 0),
        (np.zeros((1, 1), np.float32), None, None, 0),
        (np.zeros((1, 5, 64, 96), np.int64), None, None, 0),
    ],
)
def test_an_output_is_known_by_its_shape_and_type(
    array: NDArray[np.generic], kind: OutputFormat | None, task: Task | None, classes: int
) -> None:
    output = image_output("out", array, SIZE, "batch")
    assert (output.format, output.task, output.classes) == (kind, task, classes)
    assert output.info.shape == ("batch", *array.shape[1:])


def test_weights_in_constant_nodes_count_too() -> None:
    model = foreign(quantized=False)
    half = numpy_helper.from_array(np.zeros((100, 100), np.float16))
    model.graph.node.append(helper.make_node("Constant", [], ["held"], value=half))
    assert precision_of(model)[0] is Precision.FP16
