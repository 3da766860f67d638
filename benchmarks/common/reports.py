"""Results as files that are either whole or as they were."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hrvit_deploy.artefact import plain

Report = dict[str, Any]


def write_report(path: Path, report: Report) -> None:
    """Put a report in the place of the one before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".part")
    staged.write_text(on_few_lines(report) + "\n", encoding="utf-8")
    staged.replace(path)


def on_few_lines(report: Report) -> str:
    """JSON with a line to a value, but one to a list of numbers."""
    text = json.dumps(plain(report), indent=1)
    return re.sub(r"\[[-+.\deE,\s]+\]", lambda found: " ".join(found[0].split()), text)
