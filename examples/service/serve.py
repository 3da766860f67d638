"""Serve an artefact over HTTP, with a page to look at it.

Usage: python examples/service/serve.py MODEL [--port 8000]

Needs pip install 'hrvit-deploy[service]' and what runs MODEL.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import uvicorn
from app import ServiceOptions, create_app
from batching import Batcher, BatchOptions

import hrvit_deploy
from hrvit_deploy.errors import HrvitDeployError

DRAIN_S = 60


class Server(uvicorn.Server):
    """Turns new requests away from the moment it is told to end, and finishes the others."""

    def __init__(self, config: uvicorn.Config, batcher: Batcher) -> None:
        super().__init__(config)
        self._batcher = batcher

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._batcher.stop_taking()
        super().handle_exit(sig, frame)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="an .onnx or .plan with its sidecar")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all interfaces")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--provider", help="cpu, cuda, tensorrt or openvino, for graphs")
    parser.add_argument("--threads", type=int, help="of a CPU; else one per core")
    parser.add_argument("--classes", default="", help="ade20k, cityscapes or a file of names")
    parser.add_argument("--batch", type=int, default=8, help="in one run, if dynamic")
    parser.add_argument("--delay-ms", type=float, default=5, help="to wait for more of them")
    parser.add_argument("--places", type=int, default=64, help="requests answered at once")
    parser.add_argument("--max-mib", type=float, default=16, help="of a request")
    parser.add_argument("--max-megapixels", type=float, default=50, help="of an image")
    return parser.parse_args()


def main() -> None:
    """Open the session and serve it until a signal comes."""
    given = parse()
    batching = BatchOptions(given.batch, given.delay_ms, given.places)
    session = hrvit_deploy.load(
        given.model,
        provider=given.provider,
        threads=given.threads,
        classes=given.classes,
        largest_batch=given.batch,
    )
    # The first run is slower: nobody should have to wait for it.
    session(np.zeros((*session.manifest.preparation.size, 3), np.uint8))
    if session.batch is not None:
        # More than that never share a run, so none should wait for others.
        batching = replace(batching, largest=session.batch)
    options = ServiceOptions(
        batching,
        most_bytes=round(given.max_mib * 2**20),
        most_pixels=round(given.max_megapixels * 1e6),
    )
    app = create_app(session, options)
    config = uvicorn.Config(
        app,
        host=given.host,
        port=given.port,
        timeout_graceful_shutdown=DRAIN_S,
        access_log=False,
    )
    Server(config, app.state.service.batcher).run()


if __name__ == "__main__":
    try:
        main()
    except HrvitDeployError as error:
        sys.exit(f"error: {error.message}; {error.hint}")
