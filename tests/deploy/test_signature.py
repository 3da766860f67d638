"""Inputs and outputs in every format, around trained and deployed networks alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.networks import CLASSES, answer, distance, noise, tiny

from hrvit_deploy.artefact import Preparation, TensorInfo
from hrvit_deploy.deploy.form import deploy
from hrvit_deploy.deploy.signature import (
    Normalize,
    Signed,
    example_input,
    input_info,
    output_info,
)
from hrvit_deploy.images import photographs, prepare
from hrvit_deploy.model.heads import HRViTSegmenter
from hrvit_deploy.model.network import Network
from hrvit_deploy.options import DECIDING, ImageSize, InputFormat, OutputFormat, Task

SIZE = ImageSize(64, 96)
FLOAT = Preparation(SIZE)
UINT8 = Preparation(SIZE, InputFormat.UINT8_NHWC)


def signed(
    output: OutputFormat, task: Task, preparation: Preparation = FLOAT
) -> tuple[torch.Tensor, Network]:
    """The answer to noise in a format, and the network that gave it."""
    network = tiny(task)
    return answer(Signed(network, preparation, output).eval(), noise(SIZE, 2)), network


def test_normalising_inside_equals_normalising_outside() -> None:
    pixels = photographs()[0].pixels
    inside = Normalize(UINT8)(torch.from_numpy(prepare(pixels, UINT8)))
    outside = torch.from_numpy(prepare(pixels, FLOAT))
    assert inside.shape == outside.shape == (1, 3, *SIZE)
    assert distance(inside, outside) < 1e-6


def test_normalising_covers_every_pixel_value() -> None:
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    inside = Normalize(UINT8)(torch.from_numpy(values)).numpy()
    mean, std = (np.array(v) for v in (UINT8.mean, UINT8.std))
    expected = ((values - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(inside, expected, atol=1e-6)
    assert inside.dtype == np.float32


@pytest.mark.parametrize("task", DECIDING)
def test_uint8_images_get_the_answer_of_normalised_ones(task: Task) -> None:
    pixels = photographs()[1].pixels
    answers = [
        answer(
            Signed(tiny(task), preparation, OutputFormat.LOGITS).eval(),
            torch.from_numpy(prepare(pixels, preparation)),
        )
        for preparation in (FLOAT, UINT8)
    ]
    assert distance(*answers) < 2e-5


@pytest.mark.parametrize("task", DECIDING)
def test_logits_are_the_networks_own(task: Task) -> None:
    logits, network = signed(OutputFormat.LOGITS, task)
    assert distance(logits, answer(network, noise(SIZE, 2))) < 1e-6


def test_probabilities_sum_to_one_and_keep_the_order() -> None:
    probabilities, network = signed(OutputFormat.PROBABILITIES, Task.CLASSIFY)
    logits = answer(network, noise(SIZE, 2))
    assert distance(probabilities.sum(dim=1), torch.ones(2)) < 1e-6
    assert torch.equal(probabilities.argsort(dim=1), logits.argsort(dim=1))


def test_a_class_map_is_the_largest_logit_of_each_pixel() -> None:
    classmap, network = signed(OutputFormat.CLASSMAP, Task.SEGMENT)
    logits = answer(network, noise(SIZE, 2))
    assert classmap.dtype == torch.uint8
    assert classmap.shape == (2, *SIZE)
    assert torch.equal(classmap, logits.argmax(dim=1).to(torch.uint8))
    assert classmap.min() < classmap.max()


def test_quarter_logits_are_those_before_enlarging() -> None:
    quarter, network = signed(OutputFormat.LOGITS_QUARTER, Task.SEGMENT)
    assert quarter.shape == (2, CLASSES, 16, 24)
    assert isinstance(network, HRViTSegmenter)
    with torch.no_grad():
        assert distance(quarter, network.scores(noise(SIZE, 2))) < 1e-6


@pytest.mark.parametrize("output", [OutputFormat.LOGITS, OutputFormat.LOGITS_QUARTER])
def test_deployed_networks_take_the_same_signature(output: OutputFormat) -> None:
    form = deploy(tiny(Task.SEGMENT), SIZE)
    deployed = answer(Signed(form.network, FLOAT, output).eval(), noise(SIZE, 2))
    assert distance(deployed, signed(output, Task.SEGMENT)[0]) < 2e-5


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_inputs_are_described(batch: int | None) -> None:
    first = "batch" if batch is None else batch
    assert input_info(FLOAT, batch) == TensorInfo(
        "image", (first, 3, 64, 96), "float32", "NCHW"
    )
    assert input_info(UINT8, batch) == TensorInfo("image", (first, 64, 96, 3), "uint8", "NHWC")
    assert input_info(UINT8, batch).batch == batch


@pytest.mark.parametrize(
    ("task", "output", "expected"),
    [
        (Task.CLASSIFY, OutputFormat.LOGITS, ("logits", (2, 7), "float32", "NC")),
        (Task.CLASSIFY, OutputFormat.PROBABILITIES, ("probabilities", (2, 7), "float32", "NC")),
        (Task.SEGMENT, OutputFormat.LOGITS, ("logits", (2, 7, 64, 96), "float32", "NCHW")),
        (
            Task.SEGMENT,
            OutputFormat.LOGITS_QUARTER,
            ("logits", (2, 7, 16, 24), "float32", "NCHW"),
        ),
        (Task.SEGMENT, OutputFormat.CLASSMAP, ("classmap", (2, 64, 96), "uint8", "NHW")),
    ],
)
def test_outputs_are_described(
    task: Task, output: OutputFormat, expected: tuple[str, tuple[int, ...], str, str]
) -> None:
    assert output_info(task, output, 7, SIZE, 2) == TensorInfo(*expected)
    assert output_info(task, output, 7, SIZE, None).batch is None


def test_a_dynamic_batch_is_traced_with_two() -> None:
    assert example_input(input_info(FLOAT, None)).shape == (2, 3, 64, 96)
    assert example_input(input_info(FLOAT, 1)).shape == (1, 3, 64, 96)
    assert example_input(input_info(UINT8, 3)).dtype == torch.uint8
