"""An artefact inside a Python service: images in, answers out, and threads that share it.

Usage: python examples/05_session.py ARTEFACT IMAGE... [--provider cpu|openvino]

A graph needs no more than pip install 'hrvit-deploy[runtime]', or [openvino].
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import hrvit_deploy

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("artefact", type=Path)
parser.add_argument("images", type=Path, nargs="+")
parser.add_argument("--provider", help="of a graph; a plan knows no choice")
arguments = parser.parse_args()

with hrvit_deploy.load(arguments.artefact, provider=arguments.provider) as session:
    print(f"{session.name}, to {session.task} {len(session.classes)} classes")

    # One image, one answer: an H x W map of class indices, or C probabilities.
    for path in arguments.images:
        answer = session(path)
        if answer.ndim == 2:
            shares = np.bincount(answer[answer >= 0], minlength=len(session.classes))
        else:
            shares = answer
        best = int(shares.argmax())
        print(f"{path.name}: mostly {session.classes.names[best]}")

    # Several images share runs where the batch allows it.
    pictures = [hrvit_deploy.load_image(path) for path in arguments.images]
    together = session(pictures)
    print(f"{len(together)} answers at once")

    # And threads share the session, as those of a web server do.
    with ThreadPoolExecutor(8) as pool:
        start = time.perf_counter()
        answers = list(pool.map(session, pictures * 8))
        took_s = time.perf_counter() - start
    same = all(
        np.array_equal(answer, session(pictures[turn % len(pictures)]))
        for turn, answer in enumerate(answers)
    )
    print(f"{len(answers) / took_s:.1f} images/s from 8 threads, the answers of one: {same}")
