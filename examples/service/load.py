"""Put the service under load from a process of its own, and write down what came of it.

Usage: python examples/service/load.py MODEL [--requests 300] [--out FILE.json]

Starts serve.py on MODEL, sends images one by one, then many at once, then more than there
are places for, and ends it while it answers. Fails if any request was lost or answered
otherwise than alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from hrvit_deploy.artefact import open_artefact
from hrvit_deploy.images import samples
from hrvit_deploy.measure.environment import describe_environment

SERVE = Path(__file__).with_name("serve.py")
IMAGES = 8
READY_S = 60
# Requests over the places there are, in the last but one part.
OVERLOAD = 2
TIMEOUT_S = 120
RUNS, TAKEN = "hrvit_run_images_count", "hrvit_places_taken"
ANSWERED = 'hrvit_answers_total{status="200"}'


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    Attributes:
        status: Of the answer; 0 if there was none.
        digest: Of what was seen, without how long it took.
    """

    image: int
    status: int
    seconds: float
    digest: str = ""


async def ask(client: httpx.AsyncClient, images: list[bytes], number: int) -> Reply:
    """Send one image."""
    image, begun = number % len(images), time.perf_counter()
    try:
        response = await client.post("/predict", content=images[image])
    except httpx.HTTPError:
        return Reply(image, 0, time.perf_counter() - begun)
    seconds = time.perf_counter() - begun
    if response.status_code != 200:
        return Reply(image, response.status_code, seconds)
    told = response.json()
    seen = json.dumps([told["classes"], told.get("overlay")]).encode()
    return Reply(image, 200, seconds, hashlib.sha256(seen).hexdigest())


async def send(
    client: httpx.AsyncClient, images: list[bytes], count: int, at_once: int
) -> tuple[list[Reply], float]:
    """Send so many requests, so many of them at once; the replies, and the seconds it took."""
    numbers = iter(range(count))
    replies: list[Reply] = []

    async def sender() -> None:
        replies.extend([await ask(client, images, number) for number in numbers])

    begun = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(at_once)))
    return replies, time.perf_counter() - begun


def summary(replies: list[Reply], seconds: float) -> dict[str, Any]:
    """Throughput, and percentiles of what was answered."""
    answered = [reply.seconds * 1000 for reply in replies if reply.status == 200]
    statuses = Counter(str(reply.status) for reply in replies)
    told: dict[str, Any] = {
        "requests": len(replies),
        "statuses": dict(sorted(statuses.items())),
        "seconds": round(seconds, 3),
        "answers_per_second": round(len(answered) / seconds, 2),
    }
    for share in (50, 95, 99):
        told[f"p{share}_ms"] = round(float(np.percentile(answered, share)), 2)
    return told


def check(part: str, replies: list[Reply], alone: dict[int, str], allowed: set[int]) -> None:
    """Stop if a request was lost, or answered otherwise than alone."""
    for reply in replies:
        if reply.status not in allowed:
            sys.exit(f"{part}: an image was answered by status {reply.status}")
        if reply.status == 200 and reply.digest != alone[reply.image]:
            sys.exit(f"{part}: image {reply.image} was answered otherwise than alone")


class Running:
    """A service of its own process."""

    def __init__(self, arguments: list[str]) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port: int = listener.getsockname()[1]
        command = [sys.executable, str(SERVE), *arguments, "--port", str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    async def ready(self, client: httpx.AsyncClient) -> None:
        """Wait until it answers."""
        limit = time.monotonic() + READY_S
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                if (await client.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
        sys.exit("the service did not start: run serve.py on the model to see why")


@asynccontextmanager
async def service(arguments: list[str]) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """A service that runs, and a client of it."""
    running = Running(arguments)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=1000)
    address = f"http://127.0.0.1:{running.port}"
    try:
        async with httpx.AsyncClient(
            base_url=address, limits=limits, timeout=TIMEOUT_S
        ) as client:
            await running.ready(client)
            yield running, client
    finally:
        running.process.terminate()
        running.process.wait(READY_S)


async def measure(given: argparse.Namespace, images: list[bytes]) -> dict[str, Any]:
    """All parts, one after the other."""
    arguments = [str(given.model)]
    for name in ("places", "batch", "delay_ms", "provider", "threads"):
        value = getattr(given, name)
        arguments += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    async with service(arguments) as (running, client):
        health = (await client.get("/healthz")).json()
        await send(client, images, IMAGES, 1)  # the first runs are slower
        one, one_s = await send(client, images, given.requests, 1)
        alone = {reply.image: reply.digest for reply in one}
        check("one by one", one, alone, {200})
        (before,) = await figures(client, RUNS)
        many, many_s = await send(client, images, given.requests, given.at_once)
        check("at once", many, alone, {200})
        (after,) = await figures(client, RUNS)
        crowd = OVERLOAD * given.places
        over, over_s = await send(client, images, 2 * crowd, crowd)
        check("overload", over, alone, {200, 429})
        last = await end_while_asking(running, client, images, given.at_once)
        check("shutdown", last, alone, {200})
    # uvicorn finishes, then dies of the signal it was sent, as a shell expects.
    if running.process.returncode not in (0, -signal.SIGTERM):
        sys.exit(f"shutdown: the service ended with {running.process.returncode}")
    ended = {"under_way": len(last), "answered": sum(reply.status == 200 for reply in last)}
    return {
        "service": health,
        "one_by_one": summary(one, one_s),
        "at_once": {
            "clients": given.at_once,
            "images_per_run": round(given.requests / (after - before), 2),
            **summary(many, many_s),
        },
        "overload": {"clients": crowd, **summary(over, over_s)},
        "shutdown": ended,
    }


async def figures(client: httpx.AsyncClient, *names: str) -> list[int]:
    """Whole numbers that the service tells Prometheus; 0 for what it does not tell yet."""
    lines = (await client.get("/metrics")).text.splitlines()
    told = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return [int(float(told.get(name, "0"))) for name in names]


async def end_while_asking(
    running: Running, client: httpx.AsyncClient, images: list[bytes], count: int
) -> list[Reply]:
    """End the service while it answers; what became of so many requests."""
    (before,) = await figures(client, ANSWERED)
    open_prepared = [
        asyncio.create_task(ask(client, images, number)) for number in range(count)
    ]
    answered = taken = 0
    # Until it has taken all of them, and not answered all yet.
    while answered + taken < count or not taken:
        answered, taken = await figures(client, ANSWERED, TAKEN)
        answered -= before
        if all(one.done() for one in open_prepared):
            sys.exit("shutdown: all was answered before it could be tried; give more --at-once")
    running.process.send_signal(signal.SIGTERM)
    return list(await asyncio.gather(*open_prepared))


def encoded(model: Path) -> list[bytes]:
    """A few photographs as JPEGs, of the aspect that the network takes."""
    size = open_artefact(model).manifest.preparation.size
    contents = []
    for image in samples(IMAGES, size):
        file = io.BytesIO()
        Image.fromarray(image.pixels).save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    return contents


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=16, help="clients, in the second part")
    parser.add_argument("--places", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--delay-ms", type=float, default=5)
    parser.add_argument("--provider")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, help="a .json to write the figures to")
    given = parser.parse_args()
    if given.at_once > given.places:
        sys.exit("--at-once must not be above --places: some would be turned away")
    environment = describe_environment(datetime.now(UTC).isoformat(timespec="seconds"))
    found = asyncio.run(measure(given, encoded(given.model)))
    said = ("requests", "at_once", "places", "batch", "delay_ms", "provider", "threads")
    options = {"model": given.model.name} | {key: getattr(given, key) for key in said}
    report = {"environment": environment, "options": options, **found}
    text = json.dumps(report, indent=2) + "\n"
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
