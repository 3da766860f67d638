"""The style that all charts of the benchmarks share."""

from __future__ import annotations

from typing import Any

from benchmarks.common.forms import Form

COLOURS = {
    Form.TRAINED: "#999999",
    Form.PLAIN: "#E69F00",
    Form.OURS: "#56B4E9",
    Form.FITTED: "#0072B2",
}
MEANINGS = {
    Form.TRAINED: "the network in PyTorch",
    Form.PLAIN: "plain export and onnxsim",
    Form.OURS: "hrvit-deploy export",
    Form.FITTED: "hrvit-deploy export --for the runtime",
}
GRID = "#dddddd"


def strip_axes(axes: Any, *sides: str) -> None:
    """Leave out the ticks, and the lines on those sides."""
    axes.tick_params(length=0)
    for side in sides:
        axes.spines[side].set_visible(False)
