"""Requests share runs, wait in a bounded number of places, and none is lost."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrvit_deploy.errors import UsageError

FOLDER = Path(__file__).parents[2] / "examples" / "service"
sys.path.insert(0, str(FOLDER))

from batching import Batcher, BatchOptions, Busy, Closing  # noqa: E402


class Network:
    """Answers with the image's first value; runs wait for the gate."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, images: list[Any]) -> list[int]:
        assert self.gate.wait(20)
        self.runs.append(len(images))
        if any(image[0, 0, 0] == 13 for image in images):
            raise ValueError("thirteen")
        return [int(image[0, 0, 0]) for image in images]


def image(value: int) -> Any:
    return np.full((2, 2, 3), value, np.uint8)


def play(
    scene: Callable[[Batcher, Network], Awaitable[None]], **options: Any
) -> tuple[Network, list[int]]:
    """A scene with a batcher of its own; the network, and the runs the batcher told of."""
    network, told = Network(), []

    async def scenery() -> None:
        batcher = Batcher(network, BatchOptions(**options), lambda size, _: told.append(size))
        batcher.start()
        await scene(batcher, network)
        await batcher.close()

    asyncio.run(asyncio.wait_for(scenery(), 20))
    return network, told


def test_those_that_wait_go_through_together_in_order() -> None:
    async def scene(batcher: Batcher, network: Network) -> None:
        network.gate.clear()
        open_prepared = [asyncio.create_task(batcher.ask(image(n))) for n in range(10)]
        await asyncio.sleep(0.05)
        network.gate.set()
        answers = await asyncio.gather(*open_prepared)
        assert [answered.answer for answered in answers] == list(range(10))
        assert answers[9].batch == network.runs[-1]
        assert answers[9].queue_s > 0.04

    network, told = play(scene, largest=4, delay_ms=0)
    assert sum(network.runs) == 10
    assert max(network.runs) == 4
    assert told == network.runs


def test_the_first_waits_for_others_but_not_for_long() -> None:
    async def scene(batcher: Batcher, network: Network) -> None:
        first = asyncio.create_task(batcher.ask(image(1)))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, batcher.ask(image(2)))
        alone = await batcher.ask(image(3))
        assert 0.15 < alone.queue_s < 5

    network, _ = play(scene, largest=4, delay_ms=200)
    assert network.runs == [2, 1]


def test_a_full_run_waits_for_nobody() -> None:
    async def scene(batcher: Batcher, network: Network) -> None:
        await asyncio.gather(*(batcher.ask(image(n)) for n in range(4)))

    network, _ = play(scene, largest=2, delay_ms=60_000)
    assert network.runs == [2, 2]


def test_places_are_bounded_and_given_back() -> None:
    async def scene(batcher: Batcher, network: Network) -> None:
        with batcher.place(), batcher.place():
            assert batcher.taken == 2
            with pytest.raises(Busy) as refusal, batcher.place():
                pass
            assert refusal.value.retry_s >= 1
        with batcher.place():
            assert batcher.taken == 1

    play(scene, places=2)


def test_an_error_is_that_of_its_run_alone() -> None:
    async def scene(batcher: Batcher, network: Network) -> None:
        with pytest.raises(ValueError, match="thirteen"):
            await batcher.ask(image(13))
        assert (await batcher.ask(image(5))).answer == 5

    play(scene)


def test_who_has_gone_is_not_answered() -> None:
    async def scene(batcher: Batcher, network: Network) -> None:
        network.gate.clear()
        first = asyncio.create_task(batcher.ask(image(1)))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(batcher.ask(image(2)))
        await asyncio.sleep(0.02)
        gone.cancel()
        network.gate.set()
        assert (await first).answer == 1

    network, _ = play(scene, largest=1, delay_ms=0)
    assert network.runs == [1]


def test_closing_answers_whoever_has_a_place() -> None:
    async def scene(batcher: Batcher, network: Network) -> None:
        network.gate.clear()

        async def ask(value: int) -> int:
            with batcher.place():
                await asyncio.sleep(0.03)  # still sending its image
                return int((await batcher.ask(image(value))).answer)

        open_prepared = [asyncio.create_task(ask(n)) for n in range(5)]
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        with pytest.raises(Closing), batcher.place():
            pass
        network.gate.set()
        assert await asyncio.gather(*open_prepared) == list(range(5))
        await closing

    play(scene, largest=2)


@pytest.mark.parametrize("wrong", [{"largest": 0}, {"places": 0}, {"delay_ms": -1}])
def test_options_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BatchOptions(**wrong)
