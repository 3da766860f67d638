"""The graphs that gpu.py runs, made once in a folder that may travel to another machine.

``plain`` is the network as trained through the package's own exporter with every rewrite
switched off; ``ours fitted`` is what ``hrvit-deploy export --for`` the runtime writes. FP16,
INT8 and FP8 graphs are made from that float32 graph as the commands make them; ranges come
from crops of scikit-learn's photographs, other ones than those the answers are compared on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from gpu_contenders import Entry
from peer_contenders import Form
from peer_graphs import Case
from PIL import Image

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import Artefact, Weights, open_artefact, plain, sidecar_of
from hrvit_deploy.deploy.form import REWRITES, choose
from hrvit_deploy.engines.build import SHORT
from hrvit_deploy.errors import HrvitDeployError, MissingDependency
from hrvit_deploy.images import samples
from hrvit_deploy.options import (
    QUANTIZED,
    Backend,
    BuildOptions,
    CalibrationOptions,
    ExportOptions,
    ImageSize,
    Precision,
    QuantizeOptions,
)
from hrvit_deploy.progress import Progress, working

INDEX = "prepared.json"
# As the package names plans of that backend.
RTX_SUFFIX = SHORT[Backend.TENSORRT_RTX]
# Of pictures that answers are compared on; a batch repeats them.
PICTURES = 2
# Of crops to calibrate on, their seed, and how many there are at sizes above the second.
CALIBRATION, CALIBRATION_SEED = 32, 1
LARGE, FEW = 512 * 512, 4
EVERY_REWRITE = tuple(rewrite.name for rewrite in REWRITES)


@dataclass(frozen=True)
class Index:
    """What a folder holds.

    Attributes:
        calibration: What ranges were measured on, and how.
        seconds: That each file took to make.
        failed: Name of a file that could not be made to the reason.
    """

    calibration: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Prepared:
    """Graphs, plans and pictures in a folder, by what they are for."""

    def __init__(self, folder: Path, progress: Progress, *, closed: bool = False) -> None:
        """Open a folder.

        Args:
            folder: Made if it is not there.
            progress: Told of what is made.
            closed: Nothing is made: what is not there cannot run.
        """
        self.folder, self.progress, self.closed = folder, progress, closed
        self.index = _read(folder / INDEX)

    def pictures(self, case: Case) -> Path:
        """``.npy`` of uint8 images of the case's size, to be compared on."""
        path = self.folder / f"pictures-{case.size}.npy"
        return self.file(path, lambda: _write_pictures(path, case.size))

    def graph(self, case: Case, entry: Entry) -> Path:
        """The graph that an entry runs.

        Raises:
            HrvitDeployError: It is not there and cannot be made.
        """
        path = self.path(case, entry.form, entry, entry.precision)
        return self.file(path, lambda: self._make(case, entry, entry.precision, path))

    def plan(self, case: Case, entry: Entry) -> Path:
        """A TensorRT-RTX plan of that graph, for the GPUs it builds for by default.

        Raises:
            HrvitDeployError: It is not there and cannot be built.
        """
        from hrvit_deploy.engines.build import build_engine

        graph, path = self.graph(case, entry), self.plan_path(case, entry)
        options = BuildOptions(entry.precision, Backend.TENSORRT_RTX)
        return self.file(
            path,
            lambda: build_engine(open_artefact(graph), path.parent, options, self.progress),
        )

    def plan_path(self, case: Case, entry: Entry) -> Path:
        """Where that plan lies, if there is one."""
        graph = self.path(case, entry.form, entry, entry.precision)
        return self.folder / "plans" / f"{graph.stem}-{RTX_SUFFIX}.plan"

    def path(self, case: Case, form: Form, entry: Entry, precision: Precision) -> Path:
        """Where a graph lies; runtimes with the same rewrites share one."""
        rewrites = choose(target=entry.target)
        kind = "ours" if rewrites == choose() else f"ours-{entry.target}"
        return (
            self.folder
            / f"{case.name}-{'plain' if form is Form.PLAIN else kind}-{precision}.onnx"
        )

    def _make(self, case: Case, entry: Entry, precision: Precision, path: Path) -> Artefact:
        """The graph in that precision, from the same in a wider one."""
        if precision is Precision.FP32:
            return export(case, entry, path, self.progress)
        wider = Precision.FP16 if precision in QUANTIZED else Precision.FP32
        source = self.path(case, entry.form, entry, wider)
        self.file(source, lambda: self._make(case, entry, wider, source))
        graph = open_artefact(source)
        if precision is Precision.FP16:
            pictures = pipeline.Pictures(limit=PICTURES)
            return pipeline.narrow(graph, precision, pictures, self.progress, path=path)
        return self._quantize(case, entry, graph, precision, path)

    def _quantize(
        self, case: Case, entry: Entry, graph: Artefact, precision: Precision, path: Path
    ) -> Artefact:
        from hrvit_deploy.calib.quantize import quantize_artefact

        # Batches share ranges: the graphs have the same tensors by the same names.
        single = case._replace(batch=1)
        source = self.path(single, entry.form, entry, Precision.FP32)
        self.file(source, lambda: self._make(single, entry, Precision.FP32, source))
        file, ranges = self.ranges(source, case.size)
        if case.batch > 1:
            ranges = replace(ranges, model_sha256=graph.manifest.sources[0].sha256)
        options = QuantizeOptions(precision)
        return quantize_artefact(graph, ranges, path, options, ranges_file=file)

    def ranges(self, graph: Path, size: ImageSize) -> tuple[Path, Any]:
        """Ranges of a float32 graph of batch 1, and the file that holds them."""
        count = CALIBRATION if size.height * size.width <= LARGE else FEW
        crops = self.folder / "calibration" / str(size)
        if not crops.is_dir():
            write_crops(crops, count, size)
        options = CalibrationOptions(samples=count)
        self.index.calibration[str(size)] = {
            "images": count,
            "of": "crops of the two photographs in scikit-learn",
            "method": str(options.method),
            "weights": str(Weights.RANDOM),
        }
        return pipeline.calibrate(
            open_artefact(graph), crops, options, self.folder / "calibration", self.progress
        )

    def file(self, path: Path, make: Callable[[], object]) -> Path:
        """A file of the folder, made unless it is there; a failure is remembered."""
        if path.is_file() and (path.suffix == ".npy" or sidecar_of(path).is_file()):
            return path
        if self.closed:
            reason = self.index.failed.get(path.name, "it was not prepared")
            raise MissingDependency(
                f"there is no {path.name}: {reason}", "make it with gpu.py --prepare DIR"
            )
        started = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with working(self.progress, f"Making {path.name}"):
                make()
        except HrvitDeployError as error:
            self.index.failed[path.name] = error.message
            self._write()
            raise
        self.index.failed.pop(path.name, None)
        self.index.seconds[path.name] = round(time.perf_counter() - started, 1)
        self._write()
        return path

    def _write(self) -> None:
        path = self.folder / INDEX
        staged = path.with_suffix(".part")
        staged.write_bytes(msgspec.json.format(msgspec.json.encode(plain(self.index))) + b"\n")
        staged.replace(path)


def export(case: Case, entry: Entry, path: Path, progress: Progress) -> Artefact:
    """The float32 graph of a form, compared with eager, under that name."""
    from hrvit_deploy import trained

    options = ExportOptions(
        case.size,
        batch=case.batch,
        target=None if entry.form is Form.PLAIN else entry.target,
        without=EVERY_REWRITE if entry.form is Form.PLAIN else (),
    )
    return export_as(trained.load(case.request), options, path, progress)


def export_as(network: Any, options: ExportOptions, path: Path, progress: Progress) -> Artefact:
    """Export under a name of one's own; see :func:`hrvit_deploy.pipeline.export`."""
    pictures = pipeline.Pictures(limit=PICTURES)
    # In a folder of its own, for the name that it gets says less than ours.
    folder = path.parent / f"{path.stem}.made"
    made = pipeline.export(network, options, folder, pictures, progress)
    for suffix in (".onnx", ".json"):
        made.path.with_suffix(suffix).replace(path.with_suffix(suffix))
    folder.rmdir()
    return Artefact(path, made.manifest)


def write_crops(folder: Path, count: int, size: ImageSize) -> None:
    """Crops of the photographs as files; the folder appears when it is whole."""
    staged = folder.with_name(f"{folder.name}.part")
    staged.mkdir(parents=True, exist_ok=True)
    for image in samples(count, size, seed=CALIBRATION_SEED):
        Image.fromarray(image.pixels).save(staged / f"{image.name}.png")
    staged.replace(folder)


def _write_pictures(path: Path, size: ImageSize) -> None:
    from hrvit_deploy.artefact import Preparation
    from hrvit_deploy.images import prepare
    from hrvit_deploy.options import InputFormat

    raw = Preparation(size, InputFormat.UINT8_NHWC)
    pictures = [prepare(image.pixels, raw) for image in samples(PICTURES, size)]
    np.save(path, np.concatenate(pictures))


def _read(path: Path) -> Index:
    if not path.exists():
        return Index()
    return msgspec.json.decode(path.read_bytes(), type=Index)
