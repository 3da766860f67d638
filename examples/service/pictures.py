"""Bytes that clients send as images, and answers as what they get back."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from hrvit_deploy.classes import ClassSet, Colour
from hrvit_deploy.errors import InputError
from hrvit_deploy.images import Pixels, to_rgb
from hrvit_deploy.inference.labels import Labels
from hrvit_deploy.inference.overlay import (
    UNDECIDED_INDEX,
    draw_overlay,
    entries_of,
    index_image,
    palette_of,
)
from hrvit_deploy.standalone.formats import open_picture

BEST = 5
ALPHA = 0.5


class TooLarge(Exception):
    """More than the service takes."""


def decode(content: bytes, most_pixels: int) -> Pixels:
    """An encoded image as ``H x W x 3`` uint8 RGB.

    Raises:
        InputError: It is none, or broken.
        TooLarge: It has more pixels than that; they are not decoded.
    """
    try:
        image = open_picture(io.BytesIO(content), "the image")
    except Exception as error:
        raise InputError(
            f"the image cannot be decoded: {error}", "send the file again, whole"
        ) from error
    if image is None:
        raise InputError(
            f"these {len(content)} bytes are no image", "send a JPEG, PNG or WebP file"
        )
    if image.width * image.height > most_pixels:
        raise TooLarge(
            f"the image has {image.width} x {image.height} pixels, at most"
            f" {most_pixels / 1e6:g} million are taken; send it smaller"
        )
    return to_rgb(image, "the image")


def told_shares(labels: Labels, classes: ClassSet) -> list[dict[str, Any]]:
    """The classes in a label map, the largest first."""
    index_of = {name: index for index, name in enumerate(classes.names)}
    return [
        {
            "name": entry.name,
            "index": index_of.get(entry.name, -1),
            "colour": as_hex(entry.colour) if entry.colour else None,
            "share": entry.share,
        }
        for entry in entries_of(labels, classes)
    ]


def told_best(probabilities: Any, classes: ClassSet) -> list[dict[str, Any]]:
    """The likeliest classes, the best first."""
    best = np.argsort(-probabilities, kind="stable")[:BEST].tolist()
    return [
        {"name": classes.names[i], "index": i, "probability": float(probabilities[i])}
        for i in best
    ]


def as_hex(colour: Colour) -> str:
    """``#rrggbb``."""
    return "#" + bytes(colour).hex()


def layer(labels: Labels, classes: ClassSet) -> bytes:
    """A PNG to lay over the picture: its classes' colours, transparent where it shows through.

    Up to 255 classes, its values are class indices, and 255 where there is no class.
    """
    if len(classes) <= UNDECIDED_INDEX:
        clear = bytes(0 if index in classes.clear else 255 for index in range(len(classes)))
        return png(index_image(labels, classes), transparency=clear)
    colours = np.dstack([palette_of(classes)[labels], np.full(labels.shape, 255, np.uint8)])
    colours[np.isin(labels, list(classes.clear)), 3] = 0
    return png(Image.fromarray(colours))


def blended(pixels: Pixels, labels: Labels, classes: ClassSet) -> bytes:
    """A PNG of the picture under its classes' colours, with a legend."""
    return png(draw_overlay(pixels, labels, classes, ALPHA))


def label_map(labels: Labels, classes: ClassSet) -> bytes:
    """A PNG whose values are class indices."""
    return png(index_image(labels, classes))


def png(image: Image.Image, **options: Any) -> bytes:
    """Encoded quickly rather than small."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3, **options)
    return file.getvalue()


def data_url(content: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
