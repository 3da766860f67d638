"""The graphs that a GPU runs, made once in a folder that may travel to another machine.

``plain`` is the network as trained through the package's own exporter with every rewrite
switched off; ``ours fitted`` is what ``hrvit-deploy export --for`` the runtime writes. FP16,
INT8 and FP8 graphs are made from that float32 graph as the commands make them; ranges come
from crops of scikit-learn's photographs, other ones than those the answers are compared on.
Graphs of larger batches are made from one of any batch, at two images.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common.cases import Case
from benchmarks.common.forms import Form
from benchmarks.gpu.batches import fix_batch
from benchmarks.gpu.candidates import Entry
from hrvit_deploy import trained
from hrvit_deploy.artefact import (
    Artefact,
    Preparation,
    Weights,
    open_artefact,
    plain,
    sidecar_of,
)
from hrvit_deploy.deploy.form import REWRITES, choose, deploy
from hrvit_deploy.engines.build import SHORT
from hrvit_deploy.errors import HrvitDeployError, MissingDependency
from hrvit_deploy.export.stage import Subject, cast_artefact, export_onnx
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.images import prepare, samples
from hrvit_deploy.options import (
    DEFAULT_OPSET,
    QUANTIZED,
    Backend,
    BuildOptions,
    CalibrationOptions,
    ExportOptions,
    ImageSize,
    InputFormat,
    Precision,
    QuantizeOptions,
)
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import Progress, working
from hrvit_deploy.quantization.calibration.ranges import Ranges
from hrvit_deploy.quantization.calibration.stage import calibrate_artefact
from hrvit_deploy.quantization.quantize import quantize_artefact
from hrvit_deploy.trained import Trained

INDEX = "prepared.json"
# Folder of what is needed only to make the rest.
DYNAMIC = "dynamic"
# As the package names plans of that backend.
RTX_SUFFIX = SHORT[Backend.TENSORRT_RTX]
# Of pictures that answers are compared on; a batch repeats them.
PICTURES = 2
# Of crops to calibrate on, their seed, and how many there are of more pixels than that.
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
        if case.batch == 1:
            return self._derived(case, entry, entry.precision)
        path = self.path(case, entry)
        return self.file(path, lambda: self._fixed(case, entry, path))

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
        return self.folder / "plans" / f"{self.path(case, entry).stem}-{RTX_SUFFIX}.plan"

    def path(self, case: Case, entry: Entry) -> Path:
        """Where the graph that an entry runs lies, if there is one."""
        return self.folder / f"{case.name}-{form_name(entry)}-{entry.precision}.onnx"

    def dynamic(self, case: Case, name: str) -> Path:
        """Where a graph of any batch lies, from which larger batches are made."""
        return self.folder / DYNAMIC / f"{case._replace(batch=1).name}-{name}.onnx"

    def _derived(self, case: Case, entry: Entry, precision: Precision) -> Path:
        """The graph of batch 1, or of any, in that precision; from one in a wider type."""
        name = f"{form_name(entry)}-{precision}"
        path = self.folder / f"{case.name}-{name}.onnx"
        if case.batch > 1:
            path = self.dynamic(case, name)
        return self.file(path, lambda: self._make(case, entry, precision, path))

    def _make(self, case: Case, entry: Entry, precision: Precision, path: Path) -> Artefact:
        if precision is Precision.FP32:
            return export(case, entry, path, self.progress)
        wider = Precision.FP16 if precision in QUANTIZED else Precision.FP32
        graph = open_artefact(self._derived(case, entry, wider))
        if precision is Precision.FP16:
            images = images_of(graph.manifest.preparation)
            return verified(
                cast_artefact(graph, path, precision, images, self.progress), self.progress
            )
        file, ranges = self.ranges(self._derived(case, entry, Precision.FP32), case.size)
        options = QuantizeOptions(precision)
        return quantize_artefact(graph, ranges, path, options, ranges_file=file)

    def _fixed(self, case: Case, entry: Entry, path: Path) -> Artefact:
        graph = open_artefact(self._derived(case, entry, entry.precision))
        return fix_batch(graph, case.batch, path)

    def ranges(self, graph: Path, size: ImageSize) -> tuple[Path, Ranges]:
        """Ranges of a float32 graph, and the file that holds them."""
        count = CALIBRATION if size.height * size.width <= LARGE else FEW
        crops = self.folder / "calibration" / f"{size}-{count}"
        if not crops.is_dir():
            write_crops(crops, count, size)
        options = CalibrationOptions(samples=count)
        self.index.calibration[str(size)] = {
            "images": count,
            "of": "crops of the two photographs in scikit-learn",
            "method": str(options.method),
            "weights": str(Weights.RANDOM),
        }
        place = graph.parent / "calibration"
        return calibrate_artefact(open_artefact(graph), crops, options, place, self.progress)

    def file(self, path: Path, make: Callable[[], object]) -> Path:
        """A file of the folder, made unless it is there; a failure is remembered."""
        if holds(path):
            return path
        if self.closed:
            reason = self.index.failed.get(path.name, "it was not prepared")
            raise MissingDependency(
                f"there is no {path.name}: {reason}",
                "make it with python -m benchmarks.gpu --prepare DIR",
            )
        started = time.perf_counter()
        path.parent.mkdir(parents=True, exist_ok=True)
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


def holds(path: Path) -> bool:
    """Whether a file is there, with its sidecar if it is one that has one."""
    return path.is_file() and (path.suffix == ".npy" or sidecar_of(path).is_file())


def form_name(entry: Entry) -> str:
    """``plain`` or ``ours``; runtimes with the same rewrites share a graph."""
    if entry.form is Form.PLAIN:
        return "plain"
    usual = choose(target=entry.target) == choose()
    return "ours" if usual else f"ours-{entry.target}"


def export(case: Case, entry: Entry, path: Path, progress: Progress) -> Artefact:
    """The float32 graph of a form, compared with eager, under that name."""
    options = export_options(case, entry)
    return export_as(trained.load(case.request), options, path, progress)


def export_options(case: Case, entry: Entry, opset: int = DEFAULT_OPSET) -> ExportOptions:
    """For batch 1, or for any batch where the case has more."""
    given = entry.form is Form.PLAIN
    return ExportOptions(
        case.size,
        batch=1 if case.batch == 1 else None,
        opset=opset,
        target=None if given else entry.target,
        without=EVERY_REWRITE if given else (),
    )


def export_as(
    network: Trained, options: ExportOptions, path: Path, progress: Progress
) -> Artefact:
    """What :func:`hrvit_deploy.pipeline.stages.export` makes, under a name of one's own."""
    at_size = network.at(options.size)
    rewrites = choose(options.without, target=options.target)
    form = deploy(at_size.network, options.size, rewrites)
    preparation = Preparation(options.size)
    subject = Subject(form, at_size.described, preparation, at_size.sources)
    made = export_onnx(subject, path, options, images_of(preparation), progress)
    return verified(made, progress)


def images_of(preparation: Preparation) -> list[NDArray[Any]]:
    """Pictures to make a graph on, one by one: two large ones at once take over 12 GB."""
    return ImageSource(limit=PICTURES).batches(preparation, 1)


def verified(graph: Artefact, progress: Progress) -> Artefact:
    """Compared with eager here, unless that takes two large images at once.

    What it answers is compared once more where it is timed.
    """
    size = graph.manifest.preparation.size
    if graph.manifest.inputs[0].batch is None and size.height * size.width > LARGE:
        return graph
    return stages.verify(graph, None, ImageSource(limit=PICTURES), progress)


def write_crops(folder: Path, count: int, size: ImageSize) -> None:
    """Crops of the photographs as files; the folder appears when it is whole."""
    staged = folder.with_name(f"{folder.name}.part")
    staged.mkdir(parents=True, exist_ok=True)
    for image in samples(count, size, seed=CALIBRATION_SEED):
        Image.fromarray(image.pixels).save(staged / f"{image.name}.png")
    staged.replace(folder)


def _write_pictures(path: Path, size: ImageSize) -> None:
    raw = Preparation(size, InputFormat.UINT8_NHWC)
    pictures = [prepare(image.pixels, raw) for image in samples(PICTURES, size)]
    np.save(path, np.concatenate(pictures))


def _read(path: Path) -> Index:
    if not path.exists():
        return Index()
    return msgspec.json.decode(path.read_bytes(), type=Index)
