"""Runs onnxsim alone, so that a crash of its native code takes only this process down.

Usage: ``python -m hrvit_deploy.export.simplify_worker IN.onnx OUT.onnx``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# onnxsim imports these, which take seconds, for features that are not used here.
UNUSED = ("sympy", "torch")


def main(source: Path, target: Path) -> None:
    """Simplify one file into another."""
    absent: dict[str, Any] = dict.fromkeys(UNUSED)
    sys.modules.update(absent)
    import onnxsim

    # From file to file, as graphs over 2 GB cannot be handed over in memory.
    onnxsim.simplify(str(source), certify=False, output_path=str(target))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
