"""The embedded Python program, as it is where ``standalone`` lies beside its modules."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from hrvit_deploy import standalone

APP = "hrvit_deploy.embed.python.app"
sys.modules[f"{APP}.standalone"] = standalone

command: Any = importlib.import_module(f"{APP}.__main__")
session: Any = importlib.import_module(f"{APP}.session")
