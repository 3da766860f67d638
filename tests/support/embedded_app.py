"""Import the program that ``embed --as python`` wrote, from its own folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from hrvit_deploy.embed.python.folder import APP


def import_app(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str = "session") -> Any:
    """Import a module of the ``hrvit_app`` in a folder, and none of another folder's."""
    for name in [name for name in sys.modules if name.partition(".")[0] == APP]:
        if not Path(str(sys.modules[name].__file__)).is_relative_to(folder):
            del sys.modules[name]
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module(f"{APP}.{module}")
