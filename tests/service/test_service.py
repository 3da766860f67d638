"""What the service answers over HTTP, in this process."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from support.small_artefacts import artefact
from support.stand_in import NAMES, Session, png

import hrvit_deploy
from hrvit_deploy.errors import RunnerError
from hrvit_deploy.options import Task

FOLDER = Path(__file__).parents[2] / "examples" / "service"
sys.path.insert(0, str(FOLDER))

from app import ServiceOptions, create_app  # noqa: E402
from batching import BatchOptions  # noqa: E402

Scene = Callable[[httpx.AsyncClient, Any], Awaitable[None]]
PNG = {"Accept": "image/png"}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(artefact(tmp_path).manifest)


@asynccontextmanager
async def talking(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has started, and ends after it."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client


def play(session: Any, scene: Scene, **options: Any) -> None:
    async def scenery() -> None:
        app = create_app(session, ServiceOptions(**options))
        async with talking(app) as client:
            await scene(client, app.state.service)

    asyncio.run(asyncio.wait_for(scenery(), 30))


def picture_of(address: str) -> Any:
    head, _, content = address.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize("form", [False, True])
def test_a_segmenter_tells_classes_shares_and_an_overlay(session: Session, form: bool) -> None:
    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        body: Any = {"files": {"image": ("a.png", png(1))}} if form else {"content": png(1)}
        response = await client.post("/predict", **body)
        assert response.status_code == 200
        told = response.json()
        assert (told["task"], told["height"], told["width"]) == ("segment", 20, 30)
        assert [(one["name"], one["share"]) for one in told["classes"]] == [
            ("background", 0.5),
            ("road", 0.5),
        ]
        assert told["classes"][0]["colour"] is None
        assert told["classes"][1]["colour"].startswith("#")
        layer = picture_of(told["overlay"])
        assert set(np.unique(np.asarray(layer))) == {0, 1}
        seen = np.asarray(layer.convert("RGBA"))
        assert seen[0, 0].tolist() == [*bytes.fromhex(told["classes"][1]["colour"][1:]), 255]
        assert seen[-1, 0, 3] == 0
        spent = told["latency_ms"]
        assert set(spent) == {"read", "decode", "queue", "run", "draw", "total"}
        assert sum(spent.values()) == pytest.approx(2 * spent["total"], abs=0.1)
        assert "run;dur=" in response.headers["Server-Timing"]

    play(session, scene)
    assert session.closed


def test_pictures_are_drawn_when_asked_for(session: Session) -> None:
    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        overlay = await client.post("/predict", content=png(2), headers=PNG)
        assert overlay.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(overlay.content)).mode == "RGB"
        labels = await client.post("/predict?picture=labels", content=png(2), headers=PNG)
        drawn = np.asarray(Image.open(io.BytesIO(labels.content)))
        assert drawn.shape == (20, 30)
        assert (drawn[:10] == 2).all()
        assert (drawn[10:] == 0).all()
        other = await client.post("/predict?picture=mask", content=png(), headers=PNG)
        assert other.status_code == 422
        assert "overlay or labels" in other.json()["hint"]

    play(session, scene)


def test_a_classifier_tells_the_likeliest(tmp_path: Path) -> None:
    session = Session(artefact(tmp_path).manifest, Task.CLASSIFY)

    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        told = (await client.post("/predict", content=png(3))).json()
        assert told["classes"][0] == {
            "name": "tree",
            "index": 3,
            "probability": pytest.approx(0.7),
        }
        assert len(told["classes"]) == 4
        assert "overlay" not in told
        refused = await client.post("/predict", content=png(), headers=PNG)
        assert refused.status_code == 406

    play(session, scene)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no image", "no image"),
        (b"", "no image"),
        (png()[:-40], "cannot be decoded"),
    ],
)
def test_what_is_no_image_is_told(session: Session, content: bytes, reason: str) -> None:
    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        response = await client.post("/predict", content=content)
        assert response.status_code == 422
        assert reason in response.json()["error"]
        assert response.json()["hint"]

    play(session, scene)
    assert session.runs == []


@pytest.mark.parametrize(
    "body",
    [
        {"files": {"photo": ("a.png", png())}},
        {"data": {"image": "text"}, "files": {"other": ("a.png", png())}},
        {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data"}},
        {
            "content": b"nothing of it",
            "headers": {"Content-Type": "multipart/form-data; boundary=x"},
        },
    ],
)
def test_forms_without_an_image_are_told(session: Session, body: Any) -> None:
    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        response = await client.post("/predict", **body)
        assert response.status_code == 422
        assert "image" in response.json()["hint"]

    play(session, scene)


async def in_parts(content: bytes, sent: list[int]) -> AsyncIterator[bytes]:
    """A body of no told length."""
    for start in range(0, len(content), 1000):
        sent.append(start)
        yield content[start : start + 1000]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("form", [True, False])
def test_bodies_too_large_are_not_read(session: Session, told: bool, form: bool) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    content = (head if form else b"") + os.urandom(100_000) + (b"\r\n--x--" if form else b"")
    headers = {"Content-Type": "multipart/form-data; boundary=x"} if form else {}
    sent: list[int] = []

    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        body: Any = content if told else in_parts(content, sent)
        response = await client.post("/predict", content=body, headers=headers)
        assert response.status_code == 413
        assert "MiB" in response.json()["error"]

    play(session, scene, most_bytes=10_000)
    assert told or len(sent) < 20


def test_images_of_too_many_pixels_are_not_decoded(session: Session) -> None:
    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        response = await client.post("/predict", content=png(1, 200, 300))
        assert response.status_code == 413
        assert "300 x 200" in response.json()["error"]

    play(session, scene, most_pixels=50_000)


def test_a_body_that_does_not_come_gives_its_place_back(session: Session) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"\x89PNG"
        await asyncio.sleep(20)

    async def scene(client: httpx.AsyncClient, service: Any) -> None:
        response = await client.post("/predict", content=never())
        assert response.status_code == 408
        assert service.batcher.taken == 0

    play(session, scene, read_s=0.1)


def test_more_than_there_are_places_for_are_turned_away(session: Session) -> None:
    async def scene(client: httpx.AsyncClient, service: Any) -> None:
        session.gate.clear()
        open_prepared = [
            asyncio.create_task(client.post("/predict", content=png(n))) for n in range(6)
        ]
        await asyncio.sleep(0.2)
        refused = await client.post("/predict", content=png())
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert "try again" in refused.json()["error"]
        session.gate.set()
        for number, response in enumerate(await asyncio.gather(*open_prepared)):
            names = {one["name"] for one in response.json()["classes"]}
            assert names == {"background", NAMES[number % len(NAMES)]}
        assert (await client.post("/predict", content=png())).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert 'hrvit_answers_total{status="200"} 7.0' in metrics
        assert 'hrvit_answers_total{status="429"} 1.0' in metrics
        assert "hrvit_places_taken 0.0" in metrics
        assert "hrvit_run_images_sum 7.0" in metrics
        assert 'hrvit_seconds_count{part="run"} 7.0' in metrics

    play(session, scene, batching=BatchOptions(largest=4, places=6))
    assert max(session.runs) > 1


def test_shutting_down_finishes_what_was_taken(session: Session) -> None:
    async def scenery() -> list[httpx.Response]:
        app = create_app(session)
        async with talking(app) as client:
            session.gate.clear()
            open_prepared = [
                asyncio.create_task(client.post("/predict", content=png())) for _ in range(3)
            ]
            await asyncio.sleep(0.2)
            assert (await client.get("/healthz")).status_code == 200
            app.state.service.batcher.stop_taking()
            health = await client.get("/healthz")
            assert (health.status_code, health.json()["status"]) == (503, "closing")
            late = await client.post("/predict", content=png())
            assert late.status_code == 503
            assert late.headers["Connection"] == "close"
            asyncio.get_running_loop().call_later(0.1, session.gate.set)
        assert session.closed
        return await asyncio.gather(*open_prepared)

    answers = asyncio.run(asyncio.wait_for(scenery(), 30))
    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("error", [RunnerError("no memory", "smaller batches"), ValueError()])
def test_a_network_that_fails_is_told_and_counted(session: Session, error: Exception) -> None:
    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        session.error = error
        assert (await client.post("/predict", content=png())).status_code == 500
        assert 'hrvit_answers_total{status="500"} 1.0' in (await client.get("/metrics")).text
        session.error = None
        assert (await client.post("/predict", content=png())).status_code == 200

    play(session, scene)


def test_the_page_needs_nothing_from_elsewhere(session: Session) -> None:
    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        for path, kind in (
            ("/", "text/html"),
            ("/page.css", "text/css"),
            ("/page.js", "javascript"),
        ):
            response = await client.get(path)
            assert kind in response.headers["content-type"]
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert "http" not in response.text.replace("http-equiv", "")
        assert "/predict" in (await client.get("/openapi.json")).json()["paths"]

    play(session, scene)


def test_a_session_answers(tmp_path: Path) -> None:
    session = hrvit_deploy.load(artefact(tmp_path).path)

    async def scene(client: httpx.AsyncClient, _: Any) -> None:
        health = (await client.get("/healthz")).json()
        assert health["runner"] == "onnxruntime-cpu"
        open_prepared = [client.post("/predict", content=png(n)) for n in range(5)]
        for response in await asyncio.gather(*open_prepared):
            told = response.json()["classes"]
            assert sum(one["probability"] for one in told) == pytest.approx(1)

    play(session, scene)
    with pytest.raises(RunnerError, match="closed"):
        session(np.zeros((4, 4, 3), np.uint8))
