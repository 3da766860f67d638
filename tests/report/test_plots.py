"""A chart is drawn whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from hrvit_deploy.errors import ArtefactError, MissingDependency
from hrvit_deploy.measure.accuracy.sensitivity import Damage, Sensitivity
from hrvit_deploy.measure.latency.bench import BenchOptions, BenchReport, BenchResult
from hrvit_deploy.options import Group
from hrvit_deploy.report.plots import (
    environment_line,
    plot_bench,
    plot_sensitivity,
    short_name,
)

ENVIRONMENT = {
    "date": "2026-01-31T10:00",
    "cpu": "Some  Processor",
    "usable_cores": 2,
    "gpu": None,
    "versions": {"torch": "2.9.1+cpu", "numpy": "2.0"},
}


def row(name: str, ms: float, ratio: float | None = 1.0) -> BenchResult:
    return BenchResult(name, p50_ms=ms, p90_ms=ms * 1.1, p99_ms=ms * 1.2, ratio=ratio, batch=1)


def report(*rows: BenchResult) -> BenchReport:
    return BenchReport(ENVIRONMENT, BenchOptions(), rows)


def bar_widths(path: Path) -> list[int]:
    """Widest run of bar colour in each bar, top to bottom, in pixels."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    colours = [(0x99, 0x99, 0x99), (0x56, 0xB4, 0xE9)]
    widths = []
    for colour in colours:
        counts = (np.abs(pixels - colour).max(axis=2) < 8).sum(axis=1)
        widths.append(int(counts.max()))
    return widths


def test_bars_are_as_long_as_their_medians(tmp_path: Path) -> None:
    path = plot_bench(report(row("eager", 80), row("onnx", 40, 0.5)), tmp_path / "a.png")
    first, second = bar_widths(path)
    assert second / first == pytest.approx(0.5, rel=0.03)


def test_rows_make_the_chart_taller_and_failures_have_theirs(tmp_path: Path) -> None:
    failed = BenchResult("plan", error="no GPU " * 40)
    short = plot_bench(report(row("eager", 80)), tmp_path / "short.png")
    tall = plot_bench(report(row("eager", 80), failed, failed), tmp_path / "tall.png")
    sizes = [Image.open(path).size for path in (short, tall)]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] > sizes[0][1] + 100


def test_nothing_but_failures_is_still_a_chart(tmp_path: Path) -> None:
    path = plot_bench(report(BenchResult("plan", error="no GPU")), tmp_path / "a.svg")
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtefactError, match="cannot write"):
        plot_bench(report(row("eager", 80)), tmp_path / "file" / "a.png")


def test_the_machine_in_one_line() -> None:
    assert environment_line(ENVIRONMENT) == (
        "Some Processor · 2 cores · torch 2.9.1 · 2026-01-31"
    )
    gpu = {"gpu": {"name": "NVIDIA L4", "driver": "570.86"}, "date": ""}
    assert environment_line(gpu) == "NVIDIA L4, driver 570.86"


def test_without_matplotlib_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency) as caught:
        plot_bench(report(row("eager", 80)), tmp_path / "a.png")
    assert caught.value.hint == "pip install matplotlib"


def test_importing_the_module_loads_no_matplotlib() -> None:
    code = "import sys, hrvit_deploy.report.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sensitivity_is_drawn_with_a_colour_for_each_kind(tmp_path: Path) -> None:
    damages = tuple(
        Damage(f"/network/backbone/features.{i}/fc1/Gemm", group, 1 - 10.0**-power, 0.99)
        for i, (group, power) in enumerate(
            [(Group.LINEAR, 2), (Group.POINTWISE, 4), (Group.LINEAR, 6), (Group.LINEAR, 20)]
        )
    )
    path = plot_sensitivity(Sensitivity(damages, 3), tmp_path / "s.svg", rows=3)
    text = path.read_text()
    ElementTree.fromstring(text)
    for shown in ("#56b4e9", "#e69f00", "features.2/fc1/Gemm", "3 worst of 4 products"):
        assert shown in text
    assert "features.3/fc1/Gemm" not in text


def test_long_names_keep_their_end() -> None:
    assert short_name("/network/backbone/stem/conv1/Conv") == "stem/conv1/Conv"
    long = short_name("/network/" + "x" * 100 + "/end")
    assert len(long) == 60
    assert long.endswith("/end")
