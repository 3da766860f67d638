"""Whether what is calibrated on is what the network will see."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx

from hrvit_deploy.artefact import Artefact, Manifest
from hrvit_deploy.errors import InputError
from hrvit_deploy.graphs import runnable, write_graph
from hrvit_deploy.images import is_plain
from hrvit_deploy.options import OutputFormat, Task
from hrvit_deploy.progress import Progress
from hrvit_deploy.quantization.calibration.feed import batches, check_layout
from hrvit_deploy.quantization.calibration.images import ArraySet, Picture, PictureSet
from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner
from hrvit_deploy.standalone.postprocess import winners

# Beyond what the preparation can make, as a share of all it can: filters overshoot.
OVERSHOOT = 0.1
# Images that decisions are looked at on.
DECIDED_ON = 8
STORE = "store uint8 RGB of any size, which is prepared here, or floats prepared for this graph"


class PictureChecks:
    """What is wrong with images, gathered as they are read.

    Args:
        manifest: Of the graph, whose preparation says what floats may be.
    """

    def __init__(self, manifest: Manifest) -> None:
        preparation = manifest.preparation
        mean, std = np.array(preparation.mean), np.array(preparation.std)
        self._low = float(((0 - mean) / std).min())
        self._high = float(((255 - mean) / std).max())
        self._least, self._most = float("inf"), float("-inf")
        self._count, self._floats, self._brightest = 0, 0, 0
        self._plain: list[str] = []

    def see(self, picture: Picture) -> None:
        """Look at one image.

        Raises:
            InputError: It holds NaN, or numbers that the preparation cannot make.
        """
        values = picture.values
        self._count += 1
        if values.dtype == np.uint8:
            self._brightest = max(self._brightest, int(values.max()))
            if is_plain(values):
                self._plain.append(picture.name)
            return
        self._floats += 1
        if not np.isfinite(values).all():
            raise InputError(f"{picture.name} holds NaN or infinite numbers", STORE)
        least, most = float(values.min()), float(values.max())
        if least == most:
            self._plain.append(picture.name)
        room = OVERSHOOT * (self._high - self._low)
        if least < self._low - room or most > self._high + room:
            raise InputError(
                f"{picture.name} holds numbers from {least:.4g} to {most:.4g}, and images"
                f" normalised for this graph lie from {self._low:.4g} to {self._high:.4g}",
                f"subtract the mean and divide by the deviation, or {STORE}",
            )
        self._least, self._most = min(self._least, least), max(self._most, most)

    def finish(self, progress: Progress) -> None:
        """Judge all that was seen together.

        Raises:
            InputError: All images are of one colour, or scaled to 0..1 and not normalised.
        """
        if self._count and len(self._plain) == self._count:
            raise InputError(
                f"all {self._count} images to calibrate on are of one colour each, first"
                f" {self._plain[0]}",
                "give images of what the network will see",
            )
        if self._plain:
            progress.warn(
                f"{len(self._plain)} of {self._count} images to calibrate on are of one colour,"
                f" first {self._plain[0]}"
            )
        if self._count > self._floats and self._brightest <= 1:
            raise InputError(
                "no pixel of the uint8 images to calibrate on is above 1, so that they are"
                " black, or were scaled to 0..1 before they were rounded",
                f"multiply by 255 before, or {STORE}",
            )
        # Filters overshoot, and a pixel below the mean is in every photograph.
        scaled = (
            self._floats == self._count > 0
            and self._least >= -OVERSHOOT
            and self._most <= 1 + OVERSHOOT
        )
        if scaled and (self._low < -OVERSHOOT or self._high > 1 + OVERSHOOT):
            raise InputError(
                "all floats to calibrate on lie from 0 to 1, and images normalised for this"
                f" graph lie from {self._low:.4g} to {self._high:.4g}",
                f"subtract the mean and divide by the deviation, or {STORE}",
            )


def check_arrays(pictures: PictureSet, manifest: Manifest, progress: Progress) -> None:
    """Look at arrays before anything is run on them; files are looked at as they are decoded.

    Raises:
        InputError: They are not laid out as the graph takes them, or hold what
            :class:`PictureChecks` refuses.
    """
    if not isinstance(pictures, ArraySet):
        return
    checks = PictureChecks(manifest)
    for picture in pictures:
        check_layout(picture, manifest)
        checks.see(picture)
    checks.finish(progress)


def warn_of_one_class(artefact: Artefact, pictures: PictureSet, progress: Progress) -> None:
    """Warn where the graph decides one class everywhere on what was calibrated on.

    Ranges of such images say little of the others, and agreement on them says nothing.
    """
    manifest = artefact.manifest
    if not manifest.network.decides:
        return
    decided: set[int] = set()
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        path = Path(folder) / "decided.onnx"
        write_graph(runnable(onnx.load(artefact.path)), path)
        runner = OnnxRuntimeRunner(path)
    name, image = manifest.outputs[0].name, manifest.inputs[0].name
    with runner:
        for batch in batches(pictures.some(DECIDED_ON), manifest):
            output = runner.run({image: batch.values})[name]
            is_map = manifest.output_format is OutputFormat.CLASSMAP
            labels = output if is_map else winners(output.astype(np.float32), axis=1)
            decided.update(np.unique(labels).tolist())
            if len(decided) > 1:
                return
    which = f"class {next(iter(decided))}"
    if manifest.network.class_names and next(iter(decided)) >= 0:
        which = manifest.network.class_names[next(iter(decided))]
    what = "each" if manifest.network.task is Task.CLASSIFY else "every pixel of each"
    progress.warn(
        f"the graph takes {what} of the images calibrated on for {which}: give images of all"
        " that the network will see"
    )
