"""A service over a session: images in, overlays, label maps or classes out.

``create_app`` takes anything that answers as :class:`hrvit_deploy.Session` does; ``serve.py``
runs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from batching import Answered, Batcher, BatchOptions, Busy, Closing
from bodies import FIELD, TooSlow, read_image
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from figures import Figures
from pictures import (
    TooLarge,
    blended,
    data_url,
    decode,
    label_map,
    layer,
    told_best,
    told_shares,
)
from prometheus_client import CONTENT_TYPE_LATEST

from hrvit_deploy.artefact import Manifest
from hrvit_deploy.classes import ClassSet
from hrvit_deploy.errors import HrvitDeployError, InputError
from hrvit_deploy.images import Pixels
from hrvit_deploy.options import Task, join

STATIC = Path(__file__).parent / "static"
PAGES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
# The page loads nothing from anywhere else, and shows what it made itself.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PNG = "image/png"
PICTURES = ("overlay", "labels")


class NotOffered(Exception):
    """An answer of a kind that this network has not."""


# Exception to status.
REFUSALS: dict[type[Exception], int] = {
    InputError: 422,
    NotOffered: 406,
    TooLarge: 413,
    TooSlow: 408,
    Busy: 429,
    Closing: 503,
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


class Answering(Protocol):
    """What the service needs of a session."""

    name: str
    manifest: Manifest
    classes: ClassSet
    task: Task
    batch: int | None

    def __call__(self, images: list[Pixels]) -> list[Any]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class ServiceOptions:
    """What the service takes.

    Attributes:
        batching: How requests share runs.
        most_bytes: Of a request's body.
        most_pixels: Of an image.
        read_s: A body may take to arrive.
    """

    batching: BatchOptions = field(default_factory=BatchOptions)
    most_bytes: int = 16 * 2**20
    most_pixels: int = 50_000_000
    read_s: float = 15.0


class Service:
    """A session, its batches and its figures."""

    def __init__(self, session: Answering, options: ServiceOptions) -> None:
        self.session, self.options = session, options
        self.figures = Figures(lambda: self.batcher.taken)
        self.batcher = Batcher(session, options.batching, self.figures.told)

    async def predict(self, request: Request) -> Response:
        """Answer one request; whatever is refused is raised."""
        options, timing = self.options, Timing()
        wanted = self._wanted(request)
        with self.batcher.place():
            content = await read_image(request, options.most_bytes, options.read_s)
            timing.mark("read")
            pixels = await asyncio.to_thread(decode, content, options.most_pixels)
            timing.mark("decode")
            answered = await self.batcher.ask(pixels)
            timing.split("queue", answered.queue_s, "run")
            response: Response
            if wanted is None:
                told = await asyncio.to_thread(self._told, pixels, answered)
                timing.mark("draw")
                response = JSONResponse(told | {"latency_ms": timing.milliseconds()})
            else:
                picture = await asyncio.to_thread(self._picture, wanted, pixels, answered)
                timing.mark("draw")
                response = Response(picture, media_type=PNG)
        for part, seconds in timing.parts.items():
            self.figures.seconds.labels(part).observe(seconds)
        response.headers["Server-Timing"] = timing.header()
        return response

    def _wanted(self, request: Request) -> str | None:
        """Which picture is asked for; None for JSON."""
        asked = request.query_params.get("picture", PICTURES[0])
        if asked not in PICTURES:
            raise InputError(f"there is no picture {asked!r}", f"ask for {join(PICTURES)}")
        if PNG not in request.headers.get("accept", ""):
            return None
        if self.session.task is Task.CLASSIFY:
            raise NotOffered("a classifier draws no picture: ask for application/json")
        return asked

    def _told(self, pixels: Pixels, answered: Answered) -> dict[str, Any]:
        """An answer as JSON has it."""
        session, (height, width) = self.session, pixels.shape[:2]
        told: dict[str, Any] = {
            "task": str(session.task),
            "height": height,
            "width": width,
            "batch": answered.batch,
        }
        if session.task is Task.CLASSIFY:
            return told | {"classes": told_best(answered.answer, session.classes)}
        return told | {
            "classes": told_shares(answered.answer, session.classes),
            "overlay": data_url(layer(answered.answer, session.classes)),
        }

    def _picture(self, wanted: str, pixels: Pixels, answered: Answered) -> bytes:
        """An answer as a PNG."""
        if wanted == "labels":
            return label_map(answered.answer, self.session.classes)
        return blended(pixels, answered.answer, self.session.classes)

    def health(self) -> JSONResponse:
        """Whether new requests are taken, and what answers them."""
        session, network = self.session, self.session.manifest.network
        told = {
            "status": "closing" if self.batcher.closing else "ok",
            "model": network.title,
            "task": str(session.task),
            "classes": len(session.classes),
            "precision": str(session.manifest.precision),
            "runner": session.name,
            "most_bytes": self.options.most_bytes,
        }
        return JSONResponse(told, 503 if self.batcher.closing else 200)


class Timing:
    """The parts of an answer, one after the other."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._begun = self._last = time.perf_counter()

    def mark(self, part: str) -> None:
        """Since the last mark, that was done."""
        now = time.perf_counter()
        self.parts[part], self._last = now - self._last, now

    def split(self, first: str, seconds: float, rest: str) -> None:
        """Since the last mark, two things were done; the first took so long."""
        self.mark(rest)
        self.parts = self.parts | {first: seconds, rest: self.parts[rest] - seconds}

    def milliseconds(self) -> dict[str, float]:
        """Of each part, and in all."""
        whole = self._last - self._begun
        return {part: round(s * 1000, 2) for part, s in (self.parts | {"total": whole}).items()}

    def header(self) -> str:
        """For browsers' own tools (W3C Server Timing)."""
        return ", ".join(f"{part};dur={ms}" for part, ms in self.milliseconds().items())


def create_app(session: Answering, options: ServiceOptions | None = None) -> FastAPI:
    """The application; it closes the session when it ends.

    Args:
        session: What answers; its classes are shown by their names and colours.
        options: What is taken.
    """
    service = Service(session, options or ServiceOptions())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.batcher.close()
        session.close()

    # FastAPI's own pages of documentation load scripts from elsewhere.
    app = FastAPI(title="HRViT", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_api_route("/healthz", service.health, methods=["GET"])
    app.add_api_route("/metrics", lambda: _metrics(service), methods=["GET"])
    app.add_api_route("/predict", _predicting(service), methods=["POST"], openapi_extra=BODY)
    for path, name in PAGES.items():
        app.add_api_route(path, _page(name), methods=["GET"], include_in_schema=False)
    return app


def _metrics(service: Service) -> Response:
    return Response(service.figures.text(), media_type=CONTENT_TYPE_LATEST)


def _page(name: str) -> Any:
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }

    async def page() -> FileResponse:
        return FileResponse(STATIC / name, headers=headers)

    return page


def _predicting(service: Service) -> Any:
    """The handler of ``POST /predict``: refusals become answers, and all are counted."""

    async def predict(request: Request) -> Response:
        try:
            response = await service.predict(request)
        except tuple(REFUSALS) as refusal:
            response = _refused(refusal)
        except HrvitDeployError as error:
            response = _told_error(500, error.message, error.hint)
        except Exception:
            service.figures.answers.labels(500).inc()
            raise
        service.figures.answers.labels(response.status_code).inc()
        return response

    return predict


def _refused(refusal: Exception) -> JSONResponse:
    status = next(code for kind, code in REFUSALS.items() if isinstance(refusal, kind))
    if isinstance(refusal, Closing):
        response = _told_error(status, "the service is shutting down", "ask another one")
        response.headers["Connection"] = "close"
        return response
    message = getattr(refusal, "message", str(refusal))
    response = _told_error(status, message, getattr(refusal, "hint", ""))
    if isinstance(refusal, Busy):
        response.headers["Retry-After"] = str(refusal.retry_s)
    return response


def _told_error(status: int, message: str, hint: str) -> JSONResponse:
    return JSONResponse({"error": message, "hint": hint}, status)
