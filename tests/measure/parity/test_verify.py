"""Both sides see the same images, each in its own way, and the verdict is honest."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrvit_deploy.artefact import Preparation
from hrvit_deploy.errors import InputError, RunnerError
from hrvit_deploy.images import NamedImage
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.parity.gates import GATES, Gates
from hrvit_deploy.measure.parity.verify import verify
from hrvit_deploy.options import ImageSize, InputFormat, OutputFormat, Precision
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs

PLAIN = Preparation(ImageSize(32, 32), mean=(0.0,) * 3, std=(1.0,) * 3)
FLOAT32 = GATES[Precision.FP32]
Network = Callable[[Any], Any]


class FakeRunner(Closing):
    """Answers with a function of the batch, and remembers what it was fed."""

    device = "cpu"

    def __init__(self, network: Network, name: str = "fake") -> None:
        self.name = name
        self.network = network
        self.settings: dict[str, Any] = {}
        self.fed: list[Any] = []

    def run(self, inputs: Inputs) -> Outputs:
        self.fed.append(inputs["image"])
        return {"logits": self.network(inputs["image"])}


def colours(batch: Any) -> Any:
    """Mean of each channel: three classes."""
    return batch.mean(axis=(2, 3))


def side(network: Network = colours, **changes: Any) -> PreparedRunner:
    return replace(PreparedRunner(FakeRunner(network), PLAIN, OutputFormat.LOGITS), **changes)


def pictures(count: int) -> list[NamedImage]:
    generator = np.random.default_rng(0)
    return [
        NamedImage(f"{i}.png", generator.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        for i in range(count)
    ]


def compare(
    candidate: PreparedRunner, reference: PreparedRunner, count: int = 5, gates: Gates = FLOAT32
) -> Any:
    return verify(candidate, reference, pictures(count), gates, SilentProgress())


def test_equal_networks_pass() -> None:
    verdict = compare(side(), side())
    assert verdict.passed
    assert (verdict.images, verdict.max_abs, verdict.agreement) == (5, 0, 1)
    assert verdict.cosine == pytest.approx(1)
    assert verdict.reference == "fake"


def test_a_small_error_fails_and_is_measured() -> None:
    verdict = compare(side(lambda batch: colours(batch) + 1), side())
    assert not verdict.passed
    assert verdict.max_abs == pytest.approx(1, abs=1e-4)
    assert "max_abs" in verdict.note


def test_each_side_gets_its_own_preparation() -> None:
    pixels = side(
        lambda batch: batch.astype(np.float32).mean(axis=(1, 2)),
        preparation=replace(PLAIN, format=InputFormat.UINT8_NHWC),
    )
    verdict = compare(pixels, side())
    assert pixels.runner.fed[0].shape == (1, 32, 32, 3)  # type: ignore[attr-defined]
    assert verdict.max_abs < 1e-3


def test_a_narrow_input_is_fed_narrow() -> None:
    half = side(input_dtype="float16")
    compare(half, side(), gates=GATES[Precision.FP16])
    assert half.runner.fed[0].dtype == np.float16  # type: ignore[attr-defined]


@pytest.mark.parametrize(("ours", "theirs"), [(3, 1), (1, 3), (2, 3)])
def test_batches_may_differ_and_be_uneven(ours: int, theirs: int) -> None:
    candidate, reference = side(batch=ours), side(batch=theirs)
    verdict = compare(candidate, reference, count=5)
    assert verdict.images == 5
    assert verdict.passed
    for compared in (candidate, reference):
        shapes = {array.shape for array in compared.runner.fed}  # type: ignore[attr-defined]
        assert shapes == {(compared.batch, 3, 32, 32)}


def test_a_network_that_mixes_up_its_batch_is_found() -> None:
    first_for_all = side(lambda batch: np.repeat(colours(batch)[:1], len(batch), 0), batch=2)
    assert not compare(first_for_all, side()).passed


def test_nan_names_its_image() -> None:
    def fails_once(batch: Any) -> Any:
        scores = colours(batch)
        return np.where(len(candidate.runner.fed) == 4, np.nan, scores)  # type: ignore[attr-defined]

    candidate = side(fails_once)
    verdict = compare(candidate, side())
    assert not verdict.passed
    assert "first in 3.png" in verdict.note
    assert verdict.agreement == 0.8


def to_map(batch: Any) -> Any:
    """Which channel is brightest, per pixel."""
    return batch.argmax(axis=1).astype(np.uint8)


def test_a_class_map_is_held_against_logits_by_its_decisions() -> None:
    verdict = compare(side(to_map, output_format=OutputFormat.CLASSMAP), side(lambda b: b))
    assert verdict.passed
    assert verdict.gates == {"agreement": FLOAT32.agreement}


def test_class_maps_that_differ_fail() -> None:
    classmap = side(to_map, output_format=OutputFormat.CLASSMAP)
    wrong = side(lambda b: np.roll(to_map(b), 1, 2), output_format=OutputFormat.CLASSMAP)
    verdict = compare(wrong, classmap)
    assert not verdict.passed
    assert 0 < verdict.agreement < 0.7
    assert verdict.mean_abs == 1 - verdict.agreement


def test_images_are_taken_one_by_one() -> None:
    alive = 0

    def watched() -> Iterator[NamedImage]:
        nonlocal alive
        for image in pictures(4):
            yield image
            alive += 1
            assert len(candidate.runner.fed) == alive  # type: ignore[attr-defined]

    candidate = side()
    assert verify(candidate, side(), watched(), FLOAT32, SilentProgress()).images == 4


def test_no_images_are_refused() -> None:
    with pytest.raises(InputError, match="no image") as caught:
        compare(side(), side(), count=0)
    assert "--images" in caught.value.hint


def test_other_sizes_are_refused() -> None:
    other = side(preparation=Preparation(ImageSize(64, 64)))
    with pytest.raises(InputError, match=r"images of 64x64, .* of 32x32"):
        compare(other, side())


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(RunnerError, match="no 'classmap'") as caught:
        compare(side(output="classmap"), side())
    assert "it returned logits" in caught.value.hint


def test_a_batch_that_loses_images_is_refused() -> None:
    with pytest.raises(RunnerError, match="of 2 images"):
        compare(side(lambda batch: colours(batch)[:1], batch=2), side())


def test_no_answer_outlives_its_images() -> None:
    # Full-size logits of one large image are 600 MiB.
    alive: list[weakref.ref[Any]] = []
    most = 0

    def watched(batch: Any) -> Any:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))
        answer = colours(batch)
        alive.append(weakref.ref(answer))
        return answer

    verdict = compare(side(watched), side(watched), count=4)
    assert verdict.passed
    assert len(alive) == 8
    # The reference's, while the candidate runs; none of the images before.
    assert most == 1


def test_images_of_one_colour_judge_nothing() -> None:
    black = [NamedImage(f"{i}.png", np.zeros((40, 48, 3), np.uint8)) for i in range(3)]
    parity = verify(side(), side(), black, FLOAT32, SilentProgress())
    assert not parity.passed
    assert "all 3 images are each of one colour" in parity.unjudged
    # Some others are enough, and a miss is one on any image.
    assert verify(side(), side(), [*black, *pictures(1)], FLOAT32, SilentProgress()).passed
    worse = verify(side(lambda b: colours(b) + 1), side(), black, FLOAT32, SilentProgress())
    assert not worse.passed
    assert not worse.unjudged
