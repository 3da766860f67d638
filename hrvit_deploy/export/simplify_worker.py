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
    import onnx
    import onnxsim

    simplified, _ = onnxsim.simplify(onnx.load(source), certify=False)
    onnx.save(simplified, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
