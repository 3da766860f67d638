"""Which products cost most in eight bits, and how many of them must stay in float."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy.artefact import Artefact, plain
from hrvit_deploy.measure.parity.gates import LEAST_IMAGES, Measured
from hrvit_deploy.options import QuantizeOptions
from hrvit_deploy.pipeline.quality_gate import QualityCriteria
from hrvit_deploy.progress import Progress
from hrvit_deploy.verdict import AGREEMENT
from hrvit_deploy.version import VERSION

if TYPE_CHECKING:
    from hrvit_deploy.inference.prepared_runner import PreparedRunner
    from hrvit_deploy.measure.accuracy.ranking_file import RankingFile
    from hrvit_deploy.measure.accuracy.sensitivity import Labelled, Sensitivity, SwitchedRunner
    from hrvit_deploy.quantization.calibration.ranges import Ranges
    from hrvit_deploy.quantization.products import Product

# How many images every product is tried on alone.
SENSITIVITY_IMAGES = 4
# How many more are left where the graph itself does worse than its switched form.
GROWTH = 1.25


@contextmanager
def switched(
    graph: Artefact, ranges: Ranges, options: QuantizeOptions
) -> Iterator[tuple[SwitchedRunner, tuple[Product, ...]]]:
    """Open the float graph in onnxruntime with a switch for each product."""
    from hrvit_deploy.graphs import lift_constants, read_named, runnable, write_graph
    from hrvit_deploy.measure.accuracy.sensitivity import SwitchedRunner
    from hrvit_deploy.quantization.calibration.ranges import check_fits
    from hrvit_deploy.quantization.formats import FORMATS
    from hrvit_deploy.quantization.products import choose_products, find_products
    from hrvit_deploy.quantization.quantize import check_float
    from hrvit_deploy.quantization.switches import insert_switches
    from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

    check_float(graph)
    check_fits(ranges, graph)
    model = lift_constants(runnable(read_named(graph.path)))
    products = choose_products(find_products(model), options.groups, options.keep)
    model = insert_switches(model, products, ranges.amax, FORMATS[options.precision])
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        path = Path(folder) / graph.path.name
        write_graph(model, path)
        runner = OnnxRuntimeRunner(path)
    with SwitchedRunner(runner, len(products)) as inside:
        yield inside, products


def sensitivity_of(
    graph: Artefact,
    opened: tuple[SwitchedRunner, Sequence[Product]],
    criteria: QualityCriteria,
    progress: Progress,
    *,
    images: int = SENSITIVITY_IMAGES,
    resume_file: RankingFile | None = None,
) -> Sensitivity:
    """Measure every product's damage alone, on a few images of the criteria."""
    from hrvit_deploy.measure.accuracy.sensitivity import measure_sensitivity

    runner, products = opened
    chosen = list(_labelled(graph, criteria, images))
    return measure_sensitivity(
        graph.manifest, runner, products, chosen, progress, resume_file=resume_file
    )


def ranking_file(
    graph: Artefact,
    ranges: tuple[Path, Ranges],
    options: QuantizeOptions,
    criteria: QualityCriteria,
    images: int = SENSITIVITY_IMAGES,
) -> RankingFile:
    """Return the file beside the ranges that keeps what each product was measured to cost.

    Args:
        graph: In float32.
        ranges: File and contents.
        options: Which products, and to what.
        criteria: What is measured on.
        images: How many each product is tried on.
    """
    from hrvit_deploy.measure.accuracy.ranking_file import RankingFile, key_of

    file, measured = ranges
    source = criteria.images
    key = key_of(
        version=VERSION,
        graph=graph.manifest.sha256,
        ranges=measured.amax,
        preparation=plain(graph.manifest.preparation),
        options=plain(options),
        images=images,
        contents=[_hash_of(labelled) for labelled in _labelled(graph, criteria, images)],
        place=str(criteria.data or source.folder),
    )
    return RankingFile(file.with_name(f"{graph.path.stem}-{options.precision}.ranking"), key)


def _hash_of(labelled: Labelled) -> str:
    """Hash an image, and what is where in it as it is read now."""
    digest = hashlib.sha256(str(labelled.image.pixels.shape).encode())
    digest.update(labelled.image.pixels.tobytes())
    if labelled.labels is not None:
        digest.update(labelled.labels.tobytes())
    return digest.hexdigest()


def rank_products(
    graph: Artefact,
    ranges: Ranges,
    options: QuantizeOptions,
    criteria: QualityCriteria,
    progress: Progress,
    *,
    images: int = SENSITIVITY_IMAGES,
    resume_file: RankingFile | None = None,
) -> Sensitivity:
    """Quantize one product of a float32 graph at a time, and rank them by what that costs.

    Args:
        graph: In float32.
        ranges: Of its activations.
        options: Which products, and to what.
        criteria: What to measure on: labels, or images.
        progress: Advanced once a product.
        images: How many each product is tried on.
        resume_file: Where a broken-off ranking goes on from.

    Raises:
        ArtefactError: The ranges are of another graph.
    """
    with switched(graph, ranges, options) as opened:
        return sensitivity_of(
            graph, opened, criteria, progress, images=images, resume_file=resume_file
        )


def _labelled(graph: Artefact, criteria: QualityCriteria, count: int) -> Iterator[Labelled]:
    from hrvit_deploy.measure.accuracy.sensitivity import Labelled, labelled_images

    size = graph.manifest.preparation.size
    if criteria.data is not None:
        yield from labelled_images(
            criteria.data, graph.manifest.network, size, count, criteria.options
        )
        return
    for image in replace(criteria.images, limit=count).open(size):
        yield Labelled(image)


@dataclass(frozen=True)
class Search:
    """A way from the float graph to as few products in float as its gate allows.

    Attributes:
        graph: In float32.
        ranges: Of its activations.
        options: Products kept already are not among those tried.
        criteria: What to judge on.
        progress: Shown each setting that was tried.
        resume_file: Where a broken-off ranking goes on from.
    """

    graph: Artefact
    ranges: Ranges
    options: QuantizeOptions
    criteria: QualityCriteria
    progress: Progress
    resume_file: RankingFile | None = None

    def attempts(self) -> Iterator[tuple[str, ...]]:
        """Yield names to leave in float, the worst first: as few as will do, then more.

        A graph is judged in its own types, its switched form in float32: where that makes
        the difference, more are left.
        """
        with switched(self.graph, self.ranges, self.options) as opened:
            runner, products = opened
            ranking = sensitivity_of(
                self.graph,
                opened,
                self.criteria,
                self.progress,
                resume_file=self.resume_file,
            )
            worst = tuple(damage.name for damage in ranking.damages)
            fewest = self._fewest(runner, products, worst)
        # One at least is quantized, or it would be the float graph.
        fewest = min(fewest, len(worst) - 1)
        while True:
            yield worst[:fewest]
            if fewest == len(worst) - 1:
                return
            fewest = min(max(fewest + 1, round(fewest * GROWTH)), len(worst) - 1)

    def _fewest(
        self, runner: SwitchedRunner, products: Sequence[Product], worst: Sequence[str]
    ) -> int:
        """Find the fewest of the worst without which the switched graph holds its gate."""
        from hrvit_deploy.inference.prepared_runner import PreparedRunner

        batch = self.graph.manifest.inputs[0].batch or 1
        prepared = replace(PreparedRunner.of(self.graph.manifest, runner), batch=batch)
        reference = self._score(prepared, [False] * len(products))

        def holds(count: int) -> bool:
            kept = set(worst[:count])
            score = self._score(prepared, [product.name not in kept for product in products])
            metric = AGREEMENT if self.criteria.data is None else ""
            limits = self.criteria.limits(self.options.precision)
            measured = Measured(metric, reference, score, LEAST_IMAGES)
            passed = limits.check(measured).passed
            verdict = "holds" if passed else "does not hold"
            self.progress.note(
                f"  {count} of {len(worst)} in float: {score:.4f}, which {verdict}"
            )
            return passed

        return fewest_that_hold(len(worst), holds)

    def _score(self, prepared: PreparedRunner, on: Sequence[bool]) -> float:
        """Measure mIoU or top-1 on the labelled images, or agreement with the float graph."""
        from hrvit_deploy.measure.accuracy.sensitivity import agreement_of, score_of

        criteria = self.criteria
        if criteria.data is not None:
            network = self.graph.manifest.network
            return score_of(
                network, prepared, on, criteria.data, criteria.options, progress=self.progress
            )
        if not any(on):
            return 1.0
        images = criteria.images.open(prepared.preparation.size)
        return agreement_of(prepared, on, images)


def fewest_that_hold(most: int, holds: Callable[[int], bool]) -> int:
    """Find the least number from 1 that holds, or ``most``, if more never do worse."""
    passed, failed = 1, 0
    while passed < most and not holds(passed):
        passed, failed = min(2 * passed, most), passed
    while passed - failed > 1:
        middle = (passed + failed) // 2
        if holds(middle):
            passed = middle
        else:
            failed = middle
    return passed
