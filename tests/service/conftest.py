"""The service's modules, which lie in a folder rather than in a package."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "service"
sys.path.insert(0, str(FOLDER))
