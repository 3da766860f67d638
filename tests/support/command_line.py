"""Commands run in this process, as if typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hrvit_deploy.cli import main

TINY = Path(__file__).parents[1] / "data" / "tiny.toml"
SMALL = ("--variant", str(TINY), "--size", "64x96", "--num-classes", "5", "--samples", "2")


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one object."""
        return json.loads(self.out)


Run = Callable[..., Ran]


def call(capture: Any, *arguments: str) -> Ran:
    """Run ``hrvit-deploy`` with those arguments."""
    before = sys.argv
    sys.argv = ["hrvit-deploy", *arguments]
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before
    out, err = capture.readouterr()
    assert isinstance(code, int)
    return Ran(code, out, err)
