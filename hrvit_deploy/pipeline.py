"""The stages, each made to fit the next: load, export, narrow, build, verify, evaluate.

A stage reads what the one before it wrote and knows nothing of the others; what it needs
from them is handed to it here. :mod:`hrvit_deploy.road` walks them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrvit_deploy.artefact import Artefact, Network, Parity, Preparation, Weights, record
from hrvit_deploy.errors import GateError
from hrvit_deploy.measure.gates import GATES, Gates
from hrvit_deploy.options import (
    BuildOptions,
    CalibrationOptions,
    ExportOptions,
    ImageSize,
    InputFormat,
    OutputFormat,
    Precision,
    check_output,
)
from hrvit_deploy.progress import Progress
from hrvit_deploy.request import Request
from hrvit_deploy.runners.contender import (
    Contender,
    ContenderKind,
    InferencePrecision,
    Provider,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hrvit_deploy.calib.ranges import Ranges
    from hrvit_deploy.images import NamedImage
    from hrvit_deploy.measure.evaluate import EvaluateOptions, Evaluation
    from hrvit_deploy.measure.predict import Predictions, PredictOptions
    from hrvit_deploy.trained import Trained

EXPORT_DIR = Path("export")
ENGINES_DIR = Path("engines")
CALIB_DIR = Path("calib")
EAGER = "eager"


# Images to compare on: that many, as long as they hold no more pixels, but two at least.
USUAL, FEWEST = 8, 2
PIXELS = USUAL * 512 * 512


@dataclass(frozen=True)
class Pictures:
    """Real images to measure on.

    Attributes:
        folder: Whose images, whole; or a ``.txt`` with a path a line. None for crops of the
            bundled photographs.
        limit: How many at most, taken evenly from all there are; None for as many as there
            is time for at their size.
    """

    folder: Path | None = None
    limit: int | None = None

    def open(self, size: ImageSize) -> Iterator[NamedImage]:
        """The images one by one, each of its own size, for a network's input of that."""
        from hrvit_deploy.images import folder_images, samples

        if self.folder is None:
            return samples(self.most(size), size)
        return folder_images(self.folder, self.most(size))

    def most(self, size: ImageSize) -> int:
        """The limit at that size: 8 images up to 512x512, then fewer, but 2 at least."""
        if self.limit is not None:
            return self.limit
        return max(FEWEST, min(USUAL, PIXELS // (size.height * size.width)))

    def count(self, size: ImageSize) -> int:
        """How many :meth:`open` yields."""
        from hrvit_deploy.images import find_images

        if self.folder is None:
            return self.most(size)
        return min(self.most(size), len(find_images(self.folder)))


def load(request: Request, progress: Progress) -> Trained:
    """The network with its checkpoint's weights, or with random ones and a warning."""
    from hrvit_deploy import trained

    loaded = trained.load(request)
    if loaded.described.weights is Weights.RANDOM:
        progress.warn(
            "no checkpoint: the weights are random. Parity and latency hold for any weights,"
            " but the answers mean nothing; give --checkpoint FILE"
        )
    return loaded


def export(
    trained: Trained,
    options: ExportOptions,
    folder: Path,
    pictures: Pictures,
    progress: Progress,
    *,
    gates: Gates | None = None,
) -> Artefact:
    """Export a network to ONNX and compare the graph with it on real images.

    Args:
        trained: From :func:`load`.
        options: What graph to make of it.
        folder: Where the graph goes, named after what it is.
        pictures: To compare on, and to measure activations for narrow types.
        progress: Told of each step.
        gates: What the comparison must keep; by default those of the precision.

    Returns:
        The artefact; its sidecar holds the comparison, passed or not.
    """
    from hrvit_deploy.deploy.form import choose, deploy
    from hrvit_deploy.export.stage import Subject, export_onnx

    rewrites = choose(options.without, options.extra, target=options.target)
    trained = trained.at(options.size)
    described = trained.described
    check_output(described.task, options.output_format, described.num_classes)
    preparation = Preparation(
        options.size, options.input_format, mean=options.mean, std=options.std
    )
    form = deploy(trained.network, options.size, rewrites)
    batches = prepared_batches(pictures.open(options.size), preparation, options.batch or 2)
    path = folder / f"{export_name(described, options)}.onnx"
    subject = Subject(form, described, preparation, trained.sources)
    artefact = export_onnx(subject, path, options, batches, progress)
    return verify(artefact, None, pictures, progress, gates=gates)


def narrow(
    artefact: Artefact,
    precision: Precision,
    pictures: Pictures,
    progress: Progress,
    *,
    path: Path | None = None,
) -> Artefact:
    """A float32 graph as a float16 or bfloat16 one, compared with eager.

    Args:
        artefact: The graph.
        precision: FP16 or BF16.
        pictures: To measure activations on, and to compare on.
        progress: Told of each step.
        path: Where to; None for beside it, named after the type.
    """
    from hrvit_deploy.export.stage import narrow_artefact

    manifest = artefact.manifest
    images = pictures.open(manifest.preparation.size)
    batches = prepared_batches(images, manifest.preparation, manifest.inputs[0].batch or 2)
    path = path or artefact.path.with_stem(f"{artefact.path.stem}-{precision}")
    if manifest.precision is Precision.FP32:
        progress.note(f"{artefact.path.name} is fp32; typing it in {precision} as {path.name}")
    narrowed = narrow_artefact(artefact, path, precision, batches, progress)
    return verify(narrowed, None, pictures, progress)


def build(
    artefact: Artefact,
    options: BuildOptions,
    folder: Path,
    pictures: Pictures,
    progress: Progress,
) -> Artefact:
    """Build an engine from a graph, typing the graph first where it is float32.

    Args:
        artefact: The graph.
        options: How to build; a float32 graph serves fp16 and bf16 too.
        folder: Where the plan goes.
        pictures: To measure activations on, if the graph must be narrowed.
        progress: Told of each step.
    """
    from hrvit_deploy.engines.build import build_engine

    asked, given = options.precision, artefact.manifest.precision
    if given is Precision.FP32 and asked in (Precision.FP16, Precision.BF16):
        artefact = narrow(artefact, asked, pictures, progress)
    parity = artefact.manifest.parity
    if parity is not None and not parity.passed:
        progress.warn(f"{artefact.path.name} missed its gates; the engine will too")
    return build_engine(artefact, folder, options, progress)


def calibrate(
    artefact: Artefact,
    source: Path | None,
    options: CalibrationOptions,
    folder: Path,
    progress: Progress,
) -> tuple[Path, Ranges]:
    """The ranges of a float32 graph's activations, measured unless they are there already.

    Args:
        artefact: The graph.
        source: A folder of images, a ``.txt`` list or an ``.npz``; None for
            ``calib/images/``.
        options: How many, and how to choose ranges.
        folder: Where the file goes, named after the graph.
        progress: Told of each step.

    Returns:
        The file, and what it holds.
    """
    from hrvit_deploy.calib.stage import calibrate_artefact

    return calibrate_artefact(artefact, source, options, folder, progress)


def verify(
    artefact: Artefact,
    against: Artefact | None,
    pictures: Pictures,
    progress: Progress,
    *,
    gates: Gates | None = None,
    provider: Provider = Provider.CPU,
    inference_precision: InferencePrecision = InferencePrecision.F32,
    checkpoint: str = "",
) -> Artefact:
    """Compare an artefact with the eager network, or with another artefact.

    Args:
        artefact: The candidate.
        against: The reference; None for the network it came from, in eager PyTorch.
        pictures: To compare on.
        progress: Advanced once an image.
        gates: What the comparison must keep; by default those of the precision.
        provider: What runs ONNX artefacts.
        inference_precision: What OpenVINO computes in.
        checkpoint: Where the weights lie now, if they moved.

    Returns:
        The candidate with the verdict in its sidecar.
    """
    parity = compared(
        artefact,
        against,
        pictures,
        progress,
        gates=gates,
        provider=provider,
        inference_precision=inference_precision,
        checkpoint=checkpoint,
    )
    return record(artefact, parity=parity)


def compared(
    artefact: Artefact,
    against: Artefact | None,
    pictures: Pictures,
    progress: Progress,
    *,
    gates: Gates | None = None,
    provider: Provider = Provider.CPU,
    inference_precision: InferencePrecision = InferencePrecision.F32,
    checkpoint: str = "",
) -> Parity:
    """What :func:`verify` records, measured and told only."""
    from hrvit_deploy.measure import verify as comparing
    from hrvit_deploy.runners.open_ import open_runner

    manifest = artefact.manifest
    how: dict[str, Any] = {
        "provider": provider,
        "inference_precision": inference_precision,
        "checkpoint": checkpoint,
    }
    ours = replace(contender_for(artefact, **how), rounded=True, lean=True)
    theirs = replace(
        contender_for(against or artefact, eager=against is None, **how), lean=True
    )
    with open_runner(ours) as candidate, open_runner(theirs) as reference:
        other = comparing.side_of((against or artefact).manifest, reference)
        if against is None:
            other = replace(
                other,
                preparation=replace(other.preparation, format=InputFormat.FLOAT_NCHW),
                input_dtype="float32",
            )
        parity = comparing.verify(
            comparing.side_of(manifest, candidate),
            other,
            pictures.open(manifest.preparation.size),
            gates or GATES[manifest.precision],
            progress,
            total=pictures.count(manifest.preparation.size),
        )
    narrow = manifest.float_type in (Precision.FP16, Precision.BF16)
    rounded = (
        f", every {manifest.float_type} tensor rounded" if narrow and ours.emulates else ""
    )
    return replace(parity, candidate=candidate.name + rounded)


def contender_for(
    artefact: Artefact,
    *,
    eager: bool = False,
    compiled: bool = False,
    provider: Provider = Provider.CPU,
    inference_precision: InferencePrecision = InferencePrecision.F32,
    threads: int | None = None,
    checkpoint: str = "",
) -> Contender:
    """What runs the artefact, or the network it came from, as plain data."""
    kind = ContenderKind(artefact.manifest.kind)
    name = artefact.path.stem
    if eager or compiled:
        kind = ContenderKind.COMPILE if compiled else ContenderKind.EAGER
        name = str(kind)
    return Contender(
        name=name,
        kind=kind,
        path=str(artefact.path),
        provider=provider,
        inference_precision=inference_precision,
        threads=threads,
        batch=artefact.manifest.inputs[0].batch or 1,
        checkpoint=checkpoint,
    )


def prepared_batches(
    images: Iterable[NamedImage], preparation: Preparation, batch: int
) -> list[NDArray[Any]]:
    """Images as batches the graph takes; the last one is filled up by repetition."""
    from hrvit_deploy.images import prepare, stack

    arrays = [prepare(image.pixels, preparation) for image in images]
    missing = -len(arrays) % batch
    arrays += arrays[-1:] * missing
    return [stack(arrays[i : i + batch]) for i in range(0, len(arrays), batch)]


def export_name(described: Network, options: ExportOptions) -> str:
    """``hrvit-b1-classify-224x224``, and whatever is not as usual after it."""
    parts = ["hrvit", described.variant.name, described.task, str(options.size)]
    if options.batch != 1:
        parts.append("bdyn" if options.batch is None else f"b{options.batch}")
    if options.input_format is InputFormat.UINT8_NHWC:
        parts.append("uint8")
    if options.output_format is not OutputFormat.LOGITS:
        parts.append(options.output_format)
    if options.target is not None:
        parts.append(options.target)
    if options.precision is not Precision.FP32:
        parts.append(options.precision)
    return "-".join(parts)


def require_parity(artefact: Artefact) -> None:
    """Refuse to go on with an artefact that missed its gates.

    Raises:
        GateError: It did.
    """
    parity = artefact.manifest.parity
    if parity is not None and not parity.passed:
        raise GateError(
            f"{artefact.path} does not answer as {parity.reference} does: {parity.note}",
            "loosen the gates if that is good enough, or take another precision",
        )


@dataclass(frozen=True)
class RewriteDescription:
    """A rewrite of the deploy form, told."""

    name: str
    default: bool
    summary: str


@dataclass(frozen=True)
class VariantDescription:
    """A variant, what it costs at a size, and the rewrites there are."""

    network: Network
    size: ImageSize
    rewrites: tuple[RewriteDescription, ...]


def describe_variant(request: Request, size: ImageSize) -> VariantDescription:
    """What a network costs, counted without memory for its weights."""
    from hrvit_deploy import trained
    from hrvit_deploy.deploy.form import REWRITES

    rewrites = tuple(RewriteDescription(r.name, r.default, r.summary) for r in REWRITES)
    return VariantDescription(trained.describe(request, size), size, rewrites)


def evaluate(
    artefact: Artefact,
    data: Path,
    options: EvaluateOptions,
    progress: Progress,
    *,
    provider: Provider = Provider.CPU,
    inference_precision: InferencePrecision = InferencePrecision.F32,
    eager: bool = False,
    compiled: bool = False,
    threads: int | None = None,
    checkpoint: str = "",
    state: Path | None = None,
) -> Evaluation:
    """Judge an artefact, or the network it came from, on labelled images.

    Args:
        artefact: What is judged.
        data: Folder of ADE20K, Cityscapes or ImageNet.
        options: What to judge, and how images are looked at.
        progress: Advanced once an image.
        provider: What runs it.
        inference_precision: What OpenVINO computes in.
        eager: Judge the network it came from, in eager PyTorch.
        compiled: The same, compiled.
        threads: Of a CPU runner.
        checkpoint: Where the weights lie now, if they moved.
        state: File that keeps the counts until all images are judged, so that an
            interrupted run goes on.
    """
    from hrvit_deploy.measure.evaluate import evaluate_contender

    contender = contender_for(
        artefact,
        eager=eager,
        compiled=compiled,
        provider=provider,
        inference_precision=inference_precision,
        threads=threads,
        checkpoint=checkpoint,
    )
    return evaluate_contender(contender, data, options, progress, state=state)


def predict(
    artefact: Artefact,
    images: Sequence[Path],
    options: PredictOptions,
    progress: Progress,
    *,
    provider: Provider = Provider.CPU,
    inference_precision: InferencePrecision = InferencePrecision.F32,
    eager: bool = False,
    compiled: bool = False,
    threads: int | None = None,
    checkpoint: str = "",
) -> Predictions:
    """Show what an artefact, or the network it came from, sees in images.

    Args:
        artefact: What answers.
        images: Files, and folders of them.
        options: How images are looked at, and how and where answers are drawn.
        progress: Advanced once an image.
        provider: What runs it.
        inference_precision: What OpenVINO computes in.
        eager: Ask the network it came from, in eager PyTorch.
        compiled: The same, compiled.
        threads: Of a CPU runner.
        checkpoint: Where the weights lie now, if they moved.

    Returns:
        An answer for each image, or why there is none.
    """
    from hrvit_deploy.measure.predict import predict_contender

    contender = contender_for(
        artefact,
        eager=eager,
        compiled=compiled,
        provider=provider,
        inference_precision=inference_precision,
        threads=threads,
        checkpoint=checkpoint,
    )
    return predict_contender(contender, images, options, progress)
