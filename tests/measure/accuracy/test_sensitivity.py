"""Each product's damage is measured alone, on switches that do what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.labelled import ade20k, imagenet

from hrvit_deploy.artefact import Artefact, open_artefact
from hrvit_deploy.errors import InputError
from hrvit_deploy.images import NamedImage
from hrvit_deploy.inference.prepared_runner import PreparedRunner
from hrvit_deploy.measure.accuracy.sensitivity import (
    Labelled,
    SwitchedRunner,
    agreement_of,
    labelled_images,
    measure_sensitivity,
)
from hrvit_deploy.options import Group, ImageSize
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.products import Product
from hrvit_deploy.quantization.switches import SWITCHES
from hrvit_deploy.runners.protocol import Closing, Inputs, Outputs

PRODUCTS = [Product(name, Group.LINEAR, ()) for name in ("harmless", "small", "large")]
# What switching each on adds to the scores.
COSTS = np.array([0.0, 0.2, 3.0], np.float32)


class FakeSwitches(Closing):
    """Scores that depend on the image, off by the costs of what is switched on."""

    name, device = "fake", "cpu"
    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.seen: list[list[bool]] = []

    def run(self, inputs: Inputs) -> Outputs:
        on: NDArray[np.bool_] = inputs[SWITCHES]
        self.seen.append(on.tolist())
        scores = np.zeros((1, 5, 64, 96), np.float32)
        scores[:, 1] = inputs["image"][:, 0]
        scores[:, 2] = float((COSTS * on).sum()) * np.linspace(0, 1, 96, dtype=np.float32)
        return {"logits": scores}


@pytest.fixture
def artefact(graph: Path) -> Artefact:
    return open_artefact(graph)


def image(seed: int) -> NamedImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
    return NamedImage(str(seed), pixels)


def test_products_are_ranked_by_what_they_cost_alone(artefact: Artefact) -> None:
    fake = FakeSwitches()
    runner = SwitchedRunner(fake, len(PRODUCTS))

    found = measure_sensitivity(
        artefact.manifest, runner, PRODUCTS, [Labelled(image(0))], SilentProgress()
    )

    assert [damage.name for damage in found.damages] == ["large", "small", "harmless"]
    assert found.damages[-1].cosine == pytest.approx(1)
    assert found.damages[-1].agreement == 1
    assert found.damages[0].agreement < found.damages[1].agreement
    assert (found.metric, found.reference, found.damages[0].score) == ("", None, None)
    one_each = [[i == j for i in range(3)] for j in range(3)]
    assert fake.seen == [[False] * 3, *one_each]


def test_labels_give_the_metric_of_the_task(artefact: Artefact) -> None:
    runner = SwitchedRunner(FakeSwitches(), len(PRODUCTS))
    truth = np.zeros((1, 64, 96), np.int32)
    truth[:, :32] = -1

    found = measure_sensitivity(
        artefact.manifest,
        runner,
        PRODUCTS,
        [Labelled(image(0), truth)],
        SilentProgress(),
    )

    assert found.metric == "miou"
    assert found.reference is not None
    scores = {damage.name: damage.score for damage in found.damages}
    assert scores["harmless"] == found.reference
    assert scores["large"] is not None
    assert scores["large"] < found.reference


def test_no_image_is_an_error(artefact: Artefact) -> None:
    runner = SwitchedRunner(FakeSwitches(), len(PRODUCTS))
    with pytest.raises(InputError, match="no image to measure on"):
        measure_sensitivity(artefact.manifest, runner, PRODUCTS, [], SilentProgress())


def test_agreement_is_with_everything_off(artefact: Artefact) -> None:
    runner = SwitchedRunner(FakeSwitches(), len(PRODUCTS))
    side = replace(PreparedRunner.of(artefact.manifest, runner), batch=1)
    images = [image(0), image(1)]
    assert agreement_of(side, [True, False, False], images) == 1
    assert agreement_of(side, [True, False, True], images) < 0.9


def test_data_for_another_task_or_of_more_classes_are_refused(
    artefact: Artefact, tmp_path: Path
) -> None:
    network = artefact.manifest.network
    with pytest.raises(InputError, match="the network is one to segment"):
        list(labelled_images(imagenet(tmp_path / "i"), network, ImageSize(64, 96), 2))
    data = ade20k(tmp_path / "a", classes=9)
    with pytest.raises(InputError, match="the network tells 5 apart"):
        list(labelled_images(data, network, ImageSize(64, 96), 3))


def test_labels_come_at_the_networks_size(artefact: Artefact, tmp_path: Path) -> None:
    data = ade20k(tmp_path, count=5)
    network = artefact.manifest.network
    found = list(labelled_images(data, network, ImageSize(64, 96), 2))
    # Spread over the set, not its first ones.
    assert [item.image.name for item in found] == ["v0.png", "v2.png"]
    for item in found:
        assert item.labels is not None
        assert item.labels.shape == (1, 64, 96)
        assert item.labels.min() == -1
