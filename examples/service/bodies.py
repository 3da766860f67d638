"""The one image in a request, whether sent bare or as a form, within a size and a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from pictures import TooLarge
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from hrvit_deploy.errors import InputError

FIELD = "image"


class TooSlow(Exception):
    """A body that took longer to arrive than it may."""


async def read_image(request: Request, most_bytes: int, seconds: float) -> bytes:
    """The encoded image.

    Args:
        request: Its body is the image, or a form with it as ``image``.
        most_bytes: In the body at most.
        seconds: It may take to arrive.

    Raises:
        InputError: The form is broken or has no image.
        TooLarge: The body is, whether its length was told or not; the rest is not read.
        TooSlow: It took too long.
    """
    _check_told(request, most_bytes)
    try:
        async with asyncio.timeout(seconds):
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                return await _from_form(request, most_bytes)
            return b"".join([chunk async for chunk in _bounded(request, most_bytes)])
    except TimeoutError as error:
        raise TooSlow(f"the image did not arrive in {seconds:g} s; send it again") from error


def _check_told(request: Request, most_bytes: int) -> None:
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"at most {most_bytes / 2**20:g} MiB are taken; send a smaller file")


async def _bounded(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, up to the limit."""
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > most_bytes:
            raise _too_large(most_bytes)
        yield chunk


async def _from_form(request: Request, most_bytes: int) -> bytes:
    parser = MultiPartParser(request.headers, _bounded(request, most_bytes), max_files=1)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise InputError(
            f"the form cannot be read: {error}", f"send one file as {FIELD!r}"
        ) from error
    try:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise InputError(
                f"the form has no file {FIELD!r}", f"send the image with -F {FIELD}=@photo.jpg"
            )
        return await file.read()
    finally:
        await form.close()
