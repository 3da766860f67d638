"""What the model sees in images: ``python -m hrvit_app IMAGE... [--out FOLDER]``.

A segmenter writes ``NAME-labels.png``, whose values are class indices, and
``NAME-overlay.png`` for each; a classifier prints the five likeliest classes.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .session import Session
from .standalone.decode import ImageError, load_image
from .standalone.draw import blend, index_image
from .standalone.names import printable, unused_name

TOP = 5
# Share of the classes' colours in overlays.
ALPHA = 0.5


def main() -> int:
    """Run the model on the images of the command line; return 1 if one is unusable."""
    parser = argparse.ArgumentParser(prog="python -m hrvit_app", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="FOLDER")
    arguments = parser.parse_args()
    out = arguments.out.expanduser()
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be text, and terminals need not show all text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    session, failed = Session(), False
    names: set[str] = set()
    for path in map(Path.expanduser, arguments.images):
        try:
            pixels = load_image(path)
        except ImageError as error:
            sys.stderr.write(printable(f"{path} cannot be used: {error}; {error.hint}") + "\n")
            failed = True
            continue
        result = session(pixels)
        if session.segments:
            stem = out / unused_name(path.stem, names)
            try:
                lines = draw(session, pixels, result, stem)
            except OSError as error:
                sys.stderr.write(f"cannot write to {out}: {error}; choose another --out\n")
                return 1
        else:
            lines = likeliest(session, result)
        sys.stdout.write("\n".join([*map(printable, (f"{path}", *lines)), ""]))
    session.close()
    return int(failed)


def likeliest(session: Session, shares: Any) -> list[str]:
    """Return a line for each of the five likeliest classes."""
    best = np.argsort(-shares, kind="stable")[:TOP]
    return [f"  {shares[index]:7.2%}  {session.names[index]}" for index in best]


def draw(session: Session, pixels: Any, labels: Any, stem: Path) -> list[str]:
    """Write both pictures; return a line for each class that occurs, the largest first."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    index_image(labels, session.colours).save(f"{stem}-labels.png")
    overlay = blend(pixels, labels, session.colours, session.clear, ALPHA)
    overlay.save(f"{stem}-overlay.png")
    counts = np.bincount(labels.ravel() + 1, minlength=len(session.names) + 1)
    shares = (counts / labels.size).tolist()
    named = zip(shares, ["undecided", *session.names], strict=True)
    occurring = sorted((pair for pair in named if pair[0]), key=lambda pair: -pair[0])
    return [f"  {share:7.2%}  {name}" for share, name in occurring] + [f"  {stem}-overlay.png"]


if __name__ == "__main__":
    raise SystemExit(main())
