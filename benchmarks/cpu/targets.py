"""Floors that this project sets itself: what the deploy form must gain over its peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks.common.forms import Form
from benchmarks.cpu.candidates import DEVICE, EAGER, Peer, Runtime
from hrvit_deploy.options import Task

CPU, RTX, SCALING = "cpu", "rtx", "scaling"
MEDIAN, LAYERS, SECONDS, PLAN = "median_ms", "layers", "seconds", "plan_bytes"
# The deploy forms that targets are held against.
DEPLOYED = (Form.OURS, Form.FITTED)
# How far the one graph that suits every runtime may lie above a floor.
ALLOWANCE = 0.05


@dataclass(frozen=True)
class Target:
    """A ratio of two rows' figures, and the most it may be for each task.

    Attributes:
        ours: Where the deploy form runs, and how; ``tensorrt-rtx`` where it is built.
        other: Name of the row it is held against.
    """

    figure: str
    ours: Peer | str
    other: str
    most: Mapping[Task, float]

    @property
    def section(self) -> str:
        return CPU if isinstance(self.ours, Peer) else RTX

    def row(self, form: Form) -> str:
        """Name of that deploy form's row."""
        return replace(self.ours, form=form).name if isinstance(self.ours, Peer) else str(form)


def _most(classify: float, segment: float) -> dict[Task, float]:
    return {Task.CLASSIFY: classify, Task.SEGMENT: segment}


ONNXRUNTIME = Peer(Form.PLAIN, Runtime.ONNXRUNTIME)
OPENVINO = Peer(Form.PLAIN, Runtime.OPENVINO)
OPENVINO_DEFAULT = Peer(Form.PLAIN, Runtime.OPENVINO, DEVICE)
# At 224 x 224 to classify and 512 x 512 to segment.
TARGETS = (
    Target(MEDIAN, ONNXRUNTIME, ONNXRUNTIME.name, _most(0.50, 0.40)),
    Target(MEDIAN, ONNXRUNTIME, EAGER.name, _most(0.42, 0.32)),
    Target(MEDIAN, OPENVINO, OPENVINO.name, _most(0.80, 0.65)),
    Target(MEDIAN, OPENVINO_DEFAULT, OPENVINO_DEFAULT.name, _most(0.72, 0.60)),
    Target(MEDIAN, OPENVINO, EAGER.name, _most(0.32, 0.24)),
    Target(LAYERS, "TensorRT-RTX", Form.PLAIN, _most(0.35, 0.30)),
    Target(SECONDS, "TensorRT-RTX", Form.PLAIN, _most(0.70, 0.65)),
)


def judge(sections: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every target beside what was measured; None where it was not."""
    figures = figures_of(sections)
    return [
        _judged(target, task, form, figures)
        for target in TARGETS
        for task in target.most
        for form in DEPLOYED
    ]


Figures = dict[tuple[str, str, str, str], float]


def figures_of(sections: Mapping[str, Any]) -> Figures:
    """Section, task, row and figure to its value."""
    found: Figures = {}
    for case in rows_of(sections, CPU):
        for row in case["rows"]:
            if row[MEDIAN] is not None:
                found[CPU, case["task"], row["name"], MEDIAN] = row[MEDIAN]
    for build in summarize_builds(rows_of(sections, RTX)):
        for figure in (LAYERS, SECONDS, PLAN):
            if build[figure] is not None:
                found[RTX, build["task"], build["form"], figure] = build[figure]
    return found


def rows_of(sections: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sections.get(name, {}).get("rows", [])
    return rows


def summarize_builds(builds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row to a graph: the median over its builds that succeeded."""
    graphs: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for build in builds:
        graphs.setdefault((build["task"], build["size"], build["form"]), []).append(build)
    summary = []
    for (task, size, form), group in graphs.items():
        good = [build for build in group if not build["error"]]
        row = {"task": task, "size": size, "form": form, "builds": len(good)}
        for figure in ("nodes", LAYERS, SECONDS, PLAN):
            row[figure] = median(build[figure] for build in good) if good else None
        row["error"] = "" if good else group[0]["error"]
        summary.append(row)
    return summary


def _judged(target: Target, task: Task, form: Form, figures: Figures) -> dict[str, Any]:
    ours, other = (
        figures.get((target.section, task, name, target.figure))
        for name in (target.row(form), target.other)
    )
    ratio = ours / other if ours is not None and other else None
    most = target.most[task] * (1 + ALLOWANCE if form is Form.OURS else 1)
    return {
        "figure": target.figure,
        "form": str(form),
        "ours": target.row(form),
        "other": str(target.other),
        "task": str(task),
        "most": most,
        "ratio": ratio,
        "met": None if ratio is None else ratio <= most,
    }
