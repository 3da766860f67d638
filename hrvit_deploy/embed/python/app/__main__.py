"""What the model sees in images: ``python -m hrvit_app IMAGE... [--out FOLDER]``.

A segmenter writes ``NAME-labels.png``, whose values are class indices, and
``NAME-overlay.png`` for each; a classifier prints the five likeliest classes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .session import Session, load_image

TOP = 5
# Classes whose indices a palette can show, with one left for pixels without a class.
PALETTE_CLASSES = 255


def main() -> int:
    """Answer the images named on the command line; 1 if one could not be used."""
    parser = argparse.ArgumentParser(prog="python -m hrvit_app", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="FOLDER")
    arguments = parser.parse_args()
    session, failed = Session(), False
    names: set[str] = set()
    for path in arguments.images:
        try:
            pixels = load_image(path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            sys.stderr.write(f"{path} cannot be used: {error}\n")
            failed = True
            continue
        answer = session(pixels)
        if session.segments:
            stem = arguments.out / free(path.stem, names)
            lines = draw(session, pixels, answer, stem)
        else:
            lines = likeliest(session, answer)
        sys.stdout.write("\n".join([f"{path}", *lines, ""]))
    session.close()
    return int(failed)


def free(name: str, taken: set[str]) -> str:
    """The name, with a number if another image has it."""
    chosen, count = name, 1
    while chosen.casefold() in taken:
        count += 1
        chosen = f"{name}-{count}"
    taken.add(chosen.casefold())
    return chosen


def likeliest(session: Session, shares: Any) -> list[str]:
    """A line for each of the five likeliest classes."""
    best = np.argsort(-shares, kind="stable")[:TOP]
    return [f"  {shares[index]:7.2%}  {session.names[index]}" for index in best]


def draw(session: Session, pixels: Any, labels: Any, stem: Path) -> list[str]:
    """Write both pictures; a line for each class that occurs, the largest first."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    index_image(labels, session.colours).save(f"{stem}-labels.png")
    # The last colour, which -1 finds, is for pixels without a class.
    colours = np.array([*session.colours, (0, 0, 0)], np.uint8)[labels]
    clear = np.isin(labels, session.clear)
    colours[clear] = pixels[clear]
    shown = Image.blend(Image.fromarray(pixels), Image.fromarray(colours), 0.5)
    shown.save(f"{stem}-overlay.png")
    counts = np.bincount(labels.ravel() + 1, minlength=len(session.names) + 1)
    named = zip(["undecided", *session.names], (counts / labels.size).tolist(), strict=True)
    found = sorted((pair for pair in named if pair[1]), key=lambda pair: -pair[1])
    return [f"  {share:7.2%}  {name}" for name, share in found] + [f"  {stem}-overlay.png"]


def index_image(labels: Any, colours: list[list[int]]) -> Image.Image:
    """A label map as a picture whose values are class indices, in the classes' colours.

    255 stands where there is no class; with over 255 classes it is 16-bit grey, and 65535.
    """
    if len(colours) > PALETTE_CLASSES:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels.astype(np.uint8)).convert("P")
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    image.putpalette(palette.tobytes())
    return image


if __name__ == "__main__":
    raise SystemExit(main())
