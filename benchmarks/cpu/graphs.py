"""The graphs that are timed on a CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.cases import CLASSES, Case
from benchmarks.common.forms import Form
from benchmarks.cpu.candidates import IMAGE, LOGITS, Runtime
from hrvit_deploy import graphs, trained
from hrvit_deploy.artefact import Artefact, Kind, Manifest, Preparation, sha256_of
from hrvit_deploy.deploy.form import choose, deploy
from hrvit_deploy.deploy.signature import input_info, output_info
from hrvit_deploy.errors import ExportError
from hrvit_deploy.export.simplify import TIMEOUT_S, WORKER, run_worker
from hrvit_deploy.export.trace import trace
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.options import (
    DEFAULT_OPSET,
    ExportOptions,
    OutputFormat,
    Precision,
    Target,
)
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import Progress, SilentProgress, working
from hrvit_deploy.runners.torch_ import EagerRunner

TENSORRT = "tensorrt-rtx"
# What `hrvit-deploy export --for` is told for each runtime.
TARGETS = {
    Runtime.ONNXRUNTIME: Target.ONNXRUNTIME,
    Runtime.OPENVINO: Target.OPENVINO,
    TENSORRT: Target.TENSORRT,
}
IMAGES = 2


class Graphs:
    """The graphs of cases, each made once, and the answers they should give."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder, self.progress = folder, progress
        self._made: dict[tuple[Case, tuple[str, ...]], Artefact] = {}

    def graph(self, case: Case, form: Form, runtime: str) -> Artefact:
        """The graph of that form for that runtime.

        Raises:
            HrvitDeployError: It cannot be made.
        """
        target = TARGETS[runtime] if form is Form.FITTED else None
        # Runtimes with the same rewrites share a graph.
        rewrites = tuple(rewrite.name for rewrite in choose(target=target))
        key = (case, ("plain",) if form is Form.PLAIN else rewrites)
        if key not in self._made:
            folder = self.folder / str(len(self._made))
            how = f"for {target}" if target else str(form)
            with working(self.progress, f"Exporting {case.name}, {how}"):
                self._made[key] = (
                    export_plain(case, folder)
                    if form is Form.PLAIN
                    else export_ours(case, folder, target)
                )
        return self._made[key]

    def probe(self, case: Case) -> Path:
        """An image of noise and eager's answer, for every candidate to be held against."""
        path = self.folder / f"{case.name}.npz"
        if not path.exists():
            shape = (case.batch, 3, *case.size)
            image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            with EagerRunner(trained.load(case.request).network) as runner:
                np.savez(path, image=image, logits=runner.run({IMAGE: image})[LOGITS])
        return path


def export_plain(case: Case, folder: Path) -> Artefact:
    """The training form through PyTorch's exporter and onnxsim, and nothing else."""
    loaded = trained.load(case.request).at(case.size)
    preparation = Preparation(case.size)
    classes = CLASSES[case.task]
    taken = input_info(preparation, case.batch)
    returned = output_info(case.task, OutputFormat.LOGITS, classes, case.size, case.batch)
    folder.mkdir(parents=True)
    path = folder / f"{case.name}-plain.onnx"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        traced = Path(scratch) / "traced.onnx"
        trace(loaded.network, traced, taken, returned, DEFAULT_OPSET)
        fault = run_worker((*WORKER, str(traced), str(path)), TIMEOUT_S)
    if fault:
        raise ExportError(fault)
    manifest = Manifest(
        kind=Kind.ONNX,
        sha256=sha256_of(path),
        network=loaded.described,
        precision=Precision.FP32,
        output_format=OutputFormat.LOGITS,
        inputs=(taken,),
        outputs=(returned,),
        preparation=preparation,
        versions=graphs.tool_versions(),
        options={},
        graph=graphs.describe_graph(path, DEFAULT_OPSET),
    )
    return Artefact(path, manifest)


def export_ours(case: Case, folder: Path, target: Target | None) -> Artefact:
    """What ``hrvit-deploy export`` writes, or ``hrvit-deploy export --for TARGET``."""
    options = ExportOptions(case.size, batch=case.batch, target=target)
    pictures = ImageSource(limit=max(IMAGES, case.batch))
    loaded = trained.load(case.request)
    return stages.export(loaded, options, folder, pictures, SilentProgress())


def multiply_adds(case: Case) -> dict[str, int]:
    """Of convolutions and products of one run, as trained and in the deploy form."""
    loaded = trained.load(case.request).at(case.size)
    form = deploy(loaded.network, case.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        form.network(torch.zeros(1, 3, *case.size))
    # The counter's flops are two to a multiply-add.
    ours = int(counter.get_total_flops()) // 2
    return {
        Form.TRAINED: case.batch * loaded.described.multiply_adds,
        Form.OURS: case.batch * ours,
    }
