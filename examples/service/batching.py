"""Requests that share runs: those that wait at the same time go through together."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hrvit_deploy.errors import UsageError
from hrvit_deploy.images import Pixels

# How much of a new run's time goes into what a run is said to take.
FRESH = 0.2


class Busy(Exception):
    """As many requests are being answered as there are places.

    Attributes:
        retry_s: When a place should be free, in whole seconds.
    """

    def __init__(self, retry_s: int) -> None:
        super().__init__(f"all places are taken; try again in {retry_s} s")
        self.retry_s = retry_s


class Closing(Exception):
    """No new requests are taken: the service is on its way down."""


@dataclass(frozen=True)
class BatchOptions:
    """How requests share runs.

    Attributes:
        largest: Images in one run at most.
        delay_ms: How long the first of a run waits for others, in milliseconds.
        places: Requests that are read, wait or run at the same time at most; more are
            turned away.
    """

    largest: int = 8
    delay_ms: float = 5.0
    places: int = 64

    def __post_init__(self) -> None:
        if self.largest < 1 or self.places < 1 or self.delay_ms < 0:
            raise UsageError(
                "a service needs a batch and places of at least 1, and no negative delay",
                "give --batch 8 --places 64 --delay-ms 5, or whatever suits the load",
            )


@dataclass(frozen=True)
class Answered:
    """An answer and what it took.

    Attributes:
        answer: Of the session: a label map or probabilities.
        batch: Images in the same run.
        queue_s: Waited for the run to begin.
        run_s: Of the whole run.
    """

    answer: Any
    batch: int
    queue_s: float
    run_s: float


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    since: float
    answered: asyncio.Future[Answered]


class Batcher:
    """Takes images one by one and answers them in batches, one run at a time."""

    def __init__(
        self,
        answer: Callable[[list[Pixels]], Sequence[Any]],
        options: BatchOptions,
        told: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        """Make one; :meth:`start` it inside the event loop.

        Args:
            answer: What answers several images in order, such as a session; called in a
                thread of its own.
            options: How requests share runs.
            told: Called after each run with its images and its seconds.
        """
        self._answer, self._options, self._told = answer, options, told
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "network")
        self._taken, self._run_s = 0, 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._loop: asyncio.Task[None] | None = None

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken

    @property
    def closing(self) -> bool:
        """Whether new requests are turned away for good."""
        return self._closing

    def start(self) -> None:
        """Begin to answer."""
        self._loop = asyncio.get_running_loop().create_task(self._serve())

    def stop_taking(self) -> None:
        """Turn new requests away; those that have a place are still answered."""
        self._closing = True

    async def close(self) -> None:
        """Answer all that have a place, then end."""
        self.stop_taking()
        await self._idle.wait()
        if self._loop is not None:
            self._loop.cancel()
        self._thread.shutdown()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among those that are served.

        Raises:
            Busy: There is none free.
            Closing: No more are given away.
        """
        if self._closing:
            raise Closing
        if self._taken >= self._options.places:
            raise Busy(self._wait_s())
        self._taken += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._taken -= 1
            if self._taken == 0:
                self._idle.set()

    async def ask(self, pixels: Pixels) -> Answered:
        """The answer to one image; whoever asks should have a :meth:`place`.

        Raises:
            Exception: Whatever the session raised.
        """
        answered = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(pixels, time.perf_counter(), answered))
        found: Answered = await answered
        return found

    def _wait_s(self) -> int:
        """Until all that are waiting have been answered, at the pace seen so far."""
        runs = math.ceil(self._taken / self._options.largest)
        return max(1, math.ceil(runs * self._run_s))

    async def _serve(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await self._gather(batch)
            # Those whose clients have gone need no answer.
            batch = [waiting for waiting in batch if not waiting.answered.done()]
            if batch:
                await self._run(batch)

    async def _gather(self, batch: list[_Waiting]) -> None:
        """Add whoever waits already, and whoever comes before the delay is over."""
        until = batch[0].since + self._options.delay_ms / 1000
        while len(batch) < self._options.largest:
            left = until - time.perf_counter()
            try:
                # With no time left, this still takes what is there.
                if self._queue.empty() and left > 0:
                    batch.append(await asyncio.wait_for(self._queue.get(), left))
                else:
                    batch.append(self._queue.get_nowait())
            except (TimeoutError, asyncio.QueueEmpty):
                return

    async def _run(self, batch: list[_Waiting]) -> None:
        images = [waiting.pixels for waiting in batch]
        begun = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self._answer, images)
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked
            for waiting in batch:
                if not waiting.answered.done():
                    waiting.answered.set_exception(error)
            return
        run_s = time.perf_counter() - begun
        self._run_s += (run_s - self._run_s) * (FRESH if self._run_s else 1)
        self._told(len(batch), run_s)
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answered.done():
                queue_s = begun - waiting.since
                waiting.answered.set_result(Answered(answer, len(batch), queue_s, run_s))
