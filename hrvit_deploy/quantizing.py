"""INT8 and FP8 that can be trusted: calibrate, quantize, judge, and only then build.

A quantized graph answers differently, and how much is for the task to say: mIoU or top-1
on labelled images, or the share of decisions that stay where there are none. What costs
more than its gate allows is refused, or loses its worst products until it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy import pipeline
from hrvit_deploy.artefact import (
    Artefact,
    Gate,
    Kind,
    Weights,
    open_artefact,
    record,
    sidecar_of,
)
from hrvit_deploy.errors import ArtefactError, GateError, InputError
from hrvit_deploy.measure.gates import AGREEMENT, QUALITY, Quality
from hrvit_deploy.options import CalibrationOptions, Precision, QuantizeOptions
from hrvit_deploy.pipeline import CALIB_DIR, EXPORT_DIR, Pictures
from hrvit_deploy.progress import Progress

if TYPE_CHECKING:
    from hrvit_deploy.calib.policy import Product
    from hrvit_deploy.calib.ranges import Ranges
    from hrvit_deploy.measure.evaluate import EvaluateOptions
    from hrvit_deploy.measure.sensitivity import Labelled, Sensitivity, SwitchedRunner
    from hrvit_deploy.measure.verify import Side

# How many images every product is tried on alone.
SENSITIVITY_IMAGES = 4


@dataclass(frozen=True)
class Evidence:
    """What a graph is judged on, and what it may lose.

    Attributes:
        data: Labelled images, laid out as :mod:`hrvit_deploy.datasets` knows; None judges
            by agreement with the float graph on ``pictures``.
        pictures: Without labels.
        samples: Labelled images at most; None for all.
        quality: None takes those of the precision. Only a gate that is given holds for
            random weights, whose decisions are near ties.
    """

    data: Path | None = None
    pictures: Pictures = field(default_factory=Pictures)
    samples: int | None = None
    quality: Quality | None = None

    @property
    def options(self) -> EvaluateOptions:
        """How labelled images are judged."""
        from hrvit_deploy.measure.evaluate import EvaluateOptions

        return EvaluateOptions(samples=self.samples)

    def limits(self, precision: Precision) -> Quality:
        """What a graph of that precision may lose."""
        return self.quality or QUALITY[precision]


def judge(
    candidate: Artefact, reference: Artefact | None, evidence: Evidence, progress: Progress
) -> Artefact:
    """Measure what a narrower graph costs, and write it into its sidecar.

    Args:
        candidate: The graph.
        reference: The float32 graph; None for the eager network.
        evidence: What to judge on.
        progress: Advanced once an image.

    Returns:
        The candidate with its gate, passed or not.
    """
    limits = evidence.limits(candidate.manifest.precision)
    if evidence.data is None:
        candidate = pipeline.verify(candidate, reference, evidence.pictures, progress)
        parity = candidate.manifest.parity
        assert parity is not None
        where = str(evidence.pictures.folder or "bundled photographs")
        gate = limits.judge(AGREEMENT, 1.0, parity.agreement, parity.images, where)
        return record(candidate, gate=gate)
    ours = pipeline.evaluate(candidate, evidence.data, evidence.options, progress)
    theirs = pipeline.evaluate(
        reference or candidate,
        evidence.data,
        evidence.options,
        progress,
        eager=reference is None,
    )
    gate = limits.judge(ours.metric, theirs.score, ours.score, ours.images, str(evidence.data))
    return record(candidate, gate=gate)


def require_quality(candidate: Artefact, evidence: Evidence, progress: Progress) -> None:
    """Refuse to go on with a graph that loses more than it may.

    Raises:
        GateError: It does; with the figures, and what to do.
    """
    gate = candidate.manifest.gate
    if gate is None or gate.passed:
        return
    if candidate.manifest.network.weights is Weights.RANDOM and evidence.quality is None:
        progress.warn(
            f"{describe(gate)}; the weights are random and decide by chance, so this is told"
            " and not held against the graph"
        )
        return
    quantized = candidate.manifest.quantization is not None
    raise GateError(
        f"{candidate.path}: {describe(gate)}",
        "add --auto to leave the worst products in float, calibrate on more or other images,"
        " or build --fp16"
        if quantized
        else "take another precision, or loosen the gate with --max-drop or --min-agreement",
    )


def describe(gate: Gate) -> str:
    """A gate in words."""
    if gate.metric == AGREEMENT:
        return (
            f"{gate.candidate:.2%} of the decisions are the float32 graph's on {gate.images}"
            f" images, and {gate.limit:.2%} must be"
        )
    drop, allowed = gate.reference - gate.candidate, gate.reference - gate.limit
    return (
        f"{gate.metric} is {gate.candidate:.4f} against {gate.reference:.4f} in float32 on"
        f" {gate.images} images: a loss of {100 * drop:.2f} points, and {100 * allowed:.2f}"
        " are allowed"
    )


def quantized_path(base: Artefact, precision: Precision, folder: Path) -> Path:
    """``NAME-int8.onnx``."""
    return folder / f"{base.path.stem}-{precision}.onnx"


def judge_narrow(
    candidate: Artefact, reference: Artefact, evidence: Evidence, progress: Progress
) -> Artefact:
    """As :func:`judge`, for a graph that was compared with eager as it was narrowed."""
    parity = candidate.manifest.parity
    if evidence.data is not None or parity is None:
        return judge(candidate, reference, evidence, progress)
    limits = evidence.limits(candidate.manifest.precision)
    gate = limits.judge(AGREEMENT, 1.0, parity.agreement, parity.images, "images of its parity")
    return record(candidate, gate=gate)


def narrowed(
    graph: Artefact, rest: Precision, pictures: Pictures, progress: Progress
) -> Artefact:
    """The float graph that is quantized: this one, or its copy in float16."""
    if rest is graph.manifest.precision:
        return graph
    path = graph.path.with_stem(f"{graph.path.stem}-{rest}")
    if path.is_file() and sidecar_of(path).is_file():
        known = open_artefact(path)
        origins = [source.sha256 for source in known.manifest.sources]
        if known.manifest.precision is rest and graph.manifest.sha256 in origins[:1]:
            return known
    return pipeline.narrow(graph, rest, pictures, progress)


def quantize(
    graph: Artefact,
    ranges: tuple[Path, Ranges],
    options: QuantizeOptions,
    evidence: Evidence,
    progress: Progress,
    *,
    rest: Precision | None = None,
    auto: bool = False,
    folder: Path = EXPORT_DIR,
) -> Artefact:
    """Quantize a float graph and judge what came of it.

    Args:
        graph: In float32, or float16.
        ranges: File and contents, of the float32 graph.
        options: Which products, and to what.
        evidence: What to judge on.
        progress: Told of each step.
        rest: Type of everything else: FP32 or FP16; None keeps the graph's.
        auto: Leave the worst products in float until the gate holds.
        folder: Where the graph goes.

    Returns:
        The quantized artefact; its sidecar holds the gate, passed or not.

    Raises:
        GateError: With ``auto``, the gate does not hold whatever is left out.
    """
    from hrvit_deploy.calib.quantize import quantize_artefact

    file, held = ranges
    base = narrowed(graph, rest or graph.manifest.precision, evidence.pictures, progress)
    path = quantized_path(base, options.precision, folder)

    def make(options: QuantizeOptions) -> Artefact:
        made = quantize_artefact(base, held, path, options, ranges_file=file)
        quantization = made.manifest.quantization
        assert quantization is not None
        progress.note(f"{quantization.products} products in {options.precision}: {path.name}")
        return judge(made, graph, evidence, progress)

    made = make(options)
    gate = made.manifest.gate
    if not auto or gate is None or gate.passed:
        return made
    progress.note(f"{describe(gate)}: looking for the products that cost most")
    search = _Search(graph, held, options, evidence, progress)
    left = 0
    for kept in search.attempts():
        made, left = make(replace(options, keep=kept)), len(kept)
        gate = made.manifest.gate
        if gate is not None and gate.passed:
            progress.note(f"{left} of {search.count} products stay in float")
            return made
    assert gate is not None
    raise GateError(
        f"{path}: even with {left} of {search.count} products in float, {describe(gate)}",
        "build --fp16, or loosen the gate with --max-drop or --min-agreement",
    )


@dataclass
class _Search:
    """How many of the worst products must stay in float."""

    graph: Artefact
    ranges: Ranges
    options: QuantizeOptions
    evidence: Evidence
    progress: Progress
    count: int = 0

    def attempts(self) -> Iterator[tuple[str, ...]]:
        """Names to keep, first as few as the search finds to do, then more."""
        with switched(self.graph, self.ranges, self.options) as opened:
            runner, products = opened
            self.count = len(products)
            found = sensitivity_of(self.graph, opened, self.evidence, self.progress)
            worst = [damage.name for damage in found.damages]
            fewest = self._fewest(runner, products, worst)
        options = set(self.options.keep)
        while fewest < len(worst):
            yield (*self.options.keep, *(n for n in worst[:fewest] if n not in options))
            fewest = max(fewest + 1, round(fewest * 1.25))

    def _fewest(
        self, runner: SwitchedRunner, products: Sequence[Product], worst: Sequence[str]
    ) -> int:
        """The fewest of the worst without which the switched graph holds its gate."""
        held, failed = 1, 0
        with _asking(self.graph, runner) as side:
            reference = self._score(side, None)
            while held < len(worst) and not self._holds(
                side, products, worst[:held], reference
            ):
                held, failed = 2 * held, held
            held = min(held, len(worst))
            while held - failed > 1:
                middle = (held + failed) // 2
                if self._holds(side, products, worst[:middle], reference):
                    held = middle
                else:
                    failed = middle
        return held

    def _holds(
        self,
        side: Side,
        products: Sequence[Product],
        kept: Sequence[str],
        reference: float,
    ) -> bool:
        on = [product.name not in kept for product in products]
        score = self._score(side, on)
        metric = AGREEMENT if self.evidence.data is None else ""
        limits = self.evidence.limits(self.options.precision)
        gate = limits.judge(metric, reference, score, 0, "")
        verdict = "holds" if gate.passed else "does not hold"
        self.progress.note(
            f"  with {len(kept)} of {len(products)} in float: {score:.4f}, which {verdict}"
        )
        return gate.passed

    def _score(self, side: Side, on: Sequence[bool] | None) -> float:
        """MIoU or top-1 on the labelled images, or agreement with the float graph."""
        from hrvit_deploy.measure.sensitivity import agreement_of, score_of

        if self.evidence.data is None:
            if on is None:
                return 1.0
            images = self.evidence.pictures.open(side.preparation.size)
            return agreement_of(side, on, images)
        return score_of(
            self.graph.manifest.network, side, on, self.evidence.data, self.evidence.options
        )


@contextmanager
def switched(
    graph: Artefact, ranges: Ranges, options: QuantizeOptions
) -> Iterator[tuple[SwitchedRunner, tuple[Product, ...]]]:
    """The float graph with a switch for each product, open in onnxruntime."""
    import tempfile

    import onnx

    from hrvit_deploy.calib.formats import FORMATS
    from hrvit_deploy.calib.policy import choose_products, find_products
    from hrvit_deploy.calib.quantize import check_float
    from hrvit_deploy.calib.ranges import check_fits
    from hrvit_deploy.calib.switches import insert_switches
    from hrvit_deploy.graphs import runnable, write_graph
    from hrvit_deploy.measure.sensitivity import SwitchedRunner
    from hrvit_deploy.runners.onnxruntime_ import OnnxRuntimeRunner

    check_float(graph)
    check_fits(ranges, graph)
    model = runnable(onnx.load(graph.path))
    products = choose_products(find_products(model), options.groups, options.keep)
    model = insert_switches(model, products, ranges.amax, FORMATS[options.precision])
    with tempfile.TemporaryDirectory(prefix="hrvit-deploy-") as folder:
        path = Path(folder) / graph.path.name
        write_graph(model, path)
        runner = OnnxRuntimeRunner(path)
    with SwitchedRunner(runner, len(products)) as inside:
        yield inside, products


@contextmanager
def _asking(graph: Artefact, runner: SwitchedRunner) -> Iterator[Side]:
    from hrvit_deploy.measure.verify import side_of

    batch = graph.manifest.inputs[0].batch or 1
    yield replace(side_of(graph.manifest, runner), batch=batch)


def sensitivity_of(
    graph: Artefact,
    opened: tuple[SwitchedRunner, Sequence[Product]],
    evidence: Evidence,
    progress: Progress,
    *,
    images: int = SENSITIVITY_IMAGES,
) -> Sensitivity:
    """Every product's damage alone, on a few of the images it is judged on."""
    from hrvit_deploy.measure.sensitivity import measure_sensitivity

    runner, products = opened
    chosen = list(_labelled(graph, evidence, images))
    return measure_sensitivity(
        graph.manifest, runner, products, chosen, progress, total=len(chosen)
    )


def _labelled(graph: Artefact, evidence: Evidence, count: int) -> Iterator[Labelled]:
    from hrvit_deploy.measure.sensitivity import Labelled, labelled_images

    size = graph.manifest.preparation.size
    if evidence.data is not None:
        yield from labelled_images(evidence.data, size, count)
        return
    for image in replace(evidence.pictures, limit=count).open(size):
        yield Labelled(image)


def source_of(quantized: Artefact) -> Artefact | None:
    """The float32 graph a quantized one was made from, if it still lies beside it."""
    for source in quantized.manifest.sources:
        path = quantized.path.parent / source.path
        if source.kind != Kind.ONNX or not path.is_file():
            continue
        try:
            found = open_artefact(path)
        except ArtefactError:
            continue
        if (found.manifest.sha256, found.manifest.precision) == (
            source.sha256,
            Precision.FP32,
        ):
            return found
    return None


def find_ranges(
    graph: Artefact,
    file: Path | None,
    images: Path | None,
    options: CalibrationOptions,
    progress: Progress,
    *,
    folder: Path = CALIB_DIR,
) -> tuple[Path, Ranges]:
    """The ranges of a graph: those given, those measured on images, or those measured before.

    Args:
        graph: In float32, or made from such a one.
        file: Ranges to take; None looks for images, then for ranges.
        images: A folder, list or archive; None for ``calib/images/``.
        options: How to calibrate, if that must be done.
        progress: Told what is taken.
        folder: Where ranges lie, named after their graph.

    Raises:
        ArtefactError: The ranges are of another graph.
        InputError: There are neither images nor ranges.
    """
    from hrvit_deploy.calib.images import DEFAULT_FOLDER
    from hrvit_deploy.calib.ranges import check_fits, read_ranges

    if file is not None:
        held = read_ranges(file)
        check_fits(held, graph)
        return file, held
    measured = graph
    if graph.manifest.precision is not Precision.FP32:
        found = source_of(graph)
        if found is None:
            raise ArtefactError(
                f"the float32 graph that {graph.path.name} was made from is not beside it",
                "give its ranges with --ranges, or the float32 graph instead",
            )
        measured = found
    known = folder / f"{measured.path.stem}.json"
    if images is None and not options.random_data and not holds_images(DEFAULT_FOLDER):
        if not known.is_file():
            raise InputError(
                f"there are no images in {DEFAULT_FOLDER}/ and no ranges in {known}",
                f"put some hundred images of the kind it will see into {DEFAULT_FOLDER}/,"
                " or name a folder with --images DIR",
            )
        progress.note(f"no images in {DEFAULT_FOLDER}/: taking the ranges in {known}")
        return find_ranges(measured, known, None, options, progress)
    return pipeline.calibrate(measured, images, options, folder, progress)


def holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder."""
    from hrvit_deploy.images import list_images

    try:
        return bool(list_images(folder))
    except InputError:
        return False
