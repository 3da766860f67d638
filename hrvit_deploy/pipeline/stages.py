"""The stages, each made to fit the next: load, export, cast, build, verify.

A stage reads what the one before it wrote and knows nothing of the others; what it needs
from them is handed to it here. :mod:`hrvit_deploy.pipeline.run` runs them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrvit_deploy.artefact import Artefact, Kind, Parity, Preparation, Weights, record
from hrvit_deploy.errors import UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.measure.parity.gates import GATES, Gates
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.normalisation import doubts_about
from hrvit_deploy.options import (
    QUANTIZED,
    BuildOptions,
    ExportOptions,
    OutputFormat,
    Precision,
    check_output,
)
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import (
    Implementation,
    InferencePrecision,
    Provider,
    RunnerSpec,
    RunOptions,
)
from hrvit_deploy.verdict import accept as accepted
from hrvit_deploy.verdict import make_checked, require_usable, verdict_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hrvit_deploy.trained import Trained

EXPORT_DIR = Path("export")
ENGINES_DIR = Path("engines")
CALIB_DIR = Path("calib")


def load(spec: NetworkSpec, progress: Progress) -> Trained:
    """Load a network with its checkpoint's weights, or with random ones and a warning.

    Raises:
        CheckpointError: The checkpoint cannot be read or does not fit the network.
    """
    from hrvit_deploy import trained

    loaded = trained.load(spec)
    for note in loaded.notes:
        progress.note(f"{spec.checkpoint}: {note}")
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
    images: ImageSource,
    progress: Progress,
    *,
    gates: Gates | None = None,
    accept: bool = False,
) -> Artefact:
    """Export a network to ONNX and compare the graph with it on real images.

    The graph bears its name only if the comparison passed.

    Args:
        trained: From :func:`load`.
        options: Which graph to make of it.
        folder: Where the graph is written, named after what it is.
        images: To compare on, and to measure activations for narrow types.
        progress: Shown each step.
        gates: What the comparison must keep; by default those of the precision.
        accept: Take the graph all the same where it misses, and say so in its sidecar.

    Returns:
        The artefact; in ``refused/`` below the folder where it missed.

    Raises:
        ExportError: The graph cannot be traced, checked or simplified.
        UsageError: The options contradict the network or each other.
    """
    from hrvit_deploy.deploy.form import choose, deploy
    from hrvit_deploy.export.naming import export_name
    from hrvit_deploy.export.stage import Subject, export_onnx

    rewrites = choose(options.without, options.extra, target=options.target)
    trained = trained.at(options.size)
    described = trained.described
    if not described.decides and options.output_format is OutputFormat.LOGITS:
        options = replace(options, output_format=OutputFormat.FEATURES)
    check_output(described.built_task, options.output_format, described.num_classes)
    preparation = Preparation(
        options.size, options.input_format, mean=options.mean, std=options.std
    )
    batches = images.batches(preparation, options.batch or 2)
    for doubt in doubts(trained, preparation, batches):
        progress.warn(doubt)
    form = deploy(trained.network, options.size, rewrites)
    path = folder / f"{export_name(described, options)}.onnx"
    subject = Subject(form, described, preparation, trained.sources)

    def make(staged: Path) -> Artefact:
        exported = export_onnx(subject, staged, options, batches, progress)
        return verify(exported, None, images, progress, gates=gates)

    return make_checked(path, make, accepted=accept)


def doubts(
    trained: Trained | None, preparation: Preparation, batches: Sequence[NDArray[Any]]
) -> list[str]:
    """Describe what is odd about a normalisation: by its numbers, the checkpoint, the weights.

    What the checkpoint records is believed, and nothing else doubted then.

    Args:
        trained: The network; None where there is only a graph.
        preparation: How images become its input.
        batches: Real images as it takes them.
    """
    from hrvit_deploy.export.training_statistics import doubt_normalisation

    given = (preparation.mean, preparation.std)
    odd = doubts_about(*given)
    if trained is None or trained.described.weights is not Weights.CHECKPOINT:
        return odd
    if trained.recorded.mean:
        doubt = trained.recorded.doubt(*given)
        return [*odd, doubt] if doubt else []
    return odd or [*filter(None, [doubt_normalisation(trained.network, preparation, batches)])]


def cast(
    artefact: Artefact,
    precision: Precision,
    images: ImageSource,
    progress: Progress,
    *,
    path: Path | None = None,
    judge: Callable[[Artefact], Artefact] = lambda made: made,
    accept: bool = False,
) -> Artefact:
    """Cast a float32 graph to float16 or bfloat16 and compare it with eager PyTorch.

    The new graph bears its name only if the comparison passed, and what else is judged.

    Args:
        artefact: The graph.
        precision: FP16 or BF16.
        images: To measure activations on, and to compare on.
        progress: Shown each step.
        path: The new graph; None for beside the old one, named after the type.
        judge: Judges the new graph further, before it has its name.
        accept: Take the graph all the same where it misses, and say so in its sidecar.

    Returns:
        The new graph; in ``refused/`` beside its place where it missed.
    """
    from hrvit_deploy.export.stage import cast_artefact

    manifest = artefact.manifest
    batches = images.batches(manifest.preparation, manifest.inputs[0].batch or 2)
    path = path or artefact.path.with_stem(f"{artefact.path.stem}-{precision}")
    if manifest.precision is Precision.FP32:
        progress.note(f"{artefact.path.name} is fp32; typing it in {precision} as {path.name}")
    against = None if manifest.network.variant is not None else artefact

    def make(staged: Path) -> Artefact:
        made = cast_artefact(artefact, staged, precision, batches, progress)
        return judge(verify(made, against, images, progress))

    return make_checked(path, make, accepted=accept)


def build(
    artefact: Artefact,
    options: BuildOptions,
    folder: Path,
    images: ImageSource,
    progress: Progress,
) -> Artefact:
    """Build an engine from a graph, casting the graph first where it is float32.

    Args:
        artefact: The graph.
        options: How to build; a float32 graph serves fp16 and bf16 too.
        folder: Where the plan is written.
        images: To measure activations on, if the graph must be cast.
        progress: Shown each step.

    Raises:
        BuildError: The backend refused the network.
        GateError: The graph missed what it was held to; nothing is built.
        PrecisionError: The engine's types are not those asked for.
    """
    from hrvit_deploy.engines.build import build_engine

    requested, stored = options.precision, artefact.manifest.precision
    if stored is Precision.FP32 and requested in (Precision.FP16, Precision.BF16):
        artefact = cast(artefact, requested, images, progress)
    require_usable(artefact)
    return build_engine(artefact, folder, options, progress)


def verify(
    artefact: Artefact,
    against: Artefact | None,
    images: ImageSource,
    progress: Progress,
    *,
    gates: Gates | None = None,
    run: RunOptions = RunOptions(),
    accept: bool = False,
) -> Artefact:
    """Compare an artefact with a reference and record the verdict in its sidecar.

    What cannot judge it is told of, and takes no verdict back that it had; nor do fewer
    images, or the wider gates of a runtime that narrows, take back what it missed.

    Args:
        artefact: The candidate.
        against: The reference; None for the network it came from, in eager PyTorch.
        images: To compare on.
        progress: Advanced once an image.
        gates: What the comparison must keep; by default those of the precision.
        run: How both are run.
        accept: Take it in spite of what it misses, and say so in its sidecar.

    Returns:
        The candidate with the verdict in its sidecar.

    Raises:
        InputError: There are no images, or outputs that cannot be compared.
        RunnerError: One of the two cannot run.
    """
    parity = measure_parity(artefact, against, images, progress, gates=gates, run=run)
    held = gates is not None or not is_told(artefact)
    parity = replace(parity, held=held)
    before = artefact.manifest.parity
    if parity.passed:
        wider = (
            gates is None
            and usual_gates(artefact.manifest.precision, run)
            != (GATES[artefact.manifest.precision])
        )
        weak = _vacuous(artefact, against) or takes_nothing_back(
            before, parity, wider=wider, given=gates is not None
        )
        parity = replace(parity, passed=not weak, unjudged=weak)
    if not parity.unjudged or before is None or before.unjudged:
        verified = record(artefact, progress=progress, parity=parity)
        return accepted(verified, progress) if accept else verified
    progress.note(f"{artefact.sidecar} keeps the verdict of an earlier comparison")
    if accept:
        # What that one said is taken, not what these images cannot tell.
        return accepted(artefact, progress)
    return replace(artefact, manifest=replace(artefact.manifest, parity=parity))


def _vacuous(artefact: Artefact, against: Artefact | None) -> str:
    """Say why a reference tells nothing of an artefact, if it does not."""
    if against is None:
        return ""
    if against.manifest.sha256 == artefact.manifest.sha256:
        return f"{artefact.path.name} is compared with itself, which tells nothing"
    verdict = verdict_of(against.manifest)
    if not verdict.usable:
        return f"its reference, {against.path}, is refused itself ({verdict})"
    return ""


def takes_nothing_back(before: Parity | None, now: Parity, *, wider: bool, given: bool) -> str:
    """Say why a comparison that passed leaves a miss of an earlier one as it is, if it does.

    Args:
        before: The earlier one.
        now: The one that passed.
        wider: Whether its gates are wider than the precision's own.
        given: Whether somebody gave its gates.
    """
    if before is None or before.passed or before.unjudged or given:
        return ""
    missed = f"it missed what {before.images} images were compared by before ({before.note})"
    if wider:
        return f"{missed}, and gates for a runtime that narrows types take nothing back"
    if now.images < before.images:
        return f"{missed}, and {now.images} images are too few to take that back"
    return ""


def is_told(artefact: Artefact) -> bool:
    """Return whether what an artefact misses is told, and not held against it.

    Eight bits turn near ties, and random weights decide by little else.
    """
    manifest = artefact.manifest
    return manifest.network.weights is Weights.RANDOM and manifest.precision in QUANTIZED


def measure_parity(
    artefact: Artefact,
    against: Artefact | None,
    images: ImageSource,
    progress: Progress,
    *,
    gates: Gates | None = None,
    run: RunOptions = RunOptions(),
) -> Parity:
    """Measure what :func:`verify` records, and record nothing."""
    from hrvit_deploy.inference.open import open_prepared
    from hrvit_deploy.inference.prepared_runner import DYNAMIC_BATCH
    from hrvit_deploy.measure.parity.verify import verify as compare

    manifest = artefact.manifest
    run = replace(run, save_memory=True)
    ours = RunnerSpec(artefact, replace(run, round_tensors=True))
    theirs = RunnerSpec(against, run) if against is not None else reference_of(artefact, run)
    batches = [
        spec.artefact.manifest.inputs[0].batch or DYNAMIC_BATCH for spec in (ours, theirs)
    ]
    size = manifest.preparation.size
    for note in images.notes():
        progress.warn(note)
    with (
        open_prepared(ours, batch=batches[0]) as candidate,
        open_prepared(theirs, batch=batches[1]) as reference,
    ):
        parity = compare(
            candidate,
            reference,
            images.open(size),
            gates or usual_gates(manifest.precision, run),
            progress,
            total=images.count(size),
        )
        name = candidate.runner.name
    narrow = manifest.float_type in (Precision.FP16, Precision.BF16)
    rounded = (
        f", every {manifest.float_type} tensor rounded" if narrow and ours.emulates else ""
    )
    return replace(parity, candidate=name + rounded)


def reference_of(artefact: Artefact, run: RunOptions = RunOptions()) -> RunnerSpec:
    """Return what an artefact is compared with where nobody says it.

    That is the network it came from, in eager PyTorch; of another network than HRViT, the
    graph itself in another runtime.

    Raises:
        UsageError: It was made from a graph of another network, which would have to be named.
    """
    manifest = artefact.manifest
    if manifest.network.variant is not None:
        return eager(artefact, run)
    made_from = next((s.path for s in manifest.sources if s.kind == Kind.ONNX), None)
    if made_from is not None:
        raise UsageError(
            f"{artefact.path.name} comes from another network, which PyTorch cannot build here",
            f"compare it with the graph it was made from: --against {made_from}",
        )
    elsewhere = Provider.CPU if run.provider is Provider.OPENVINO else Provider.OPENVINO
    other = replace(run, provider=elsewhere, inference_precision=InferencePrecision.F32)
    return RunnerSpec(artefact, other, name=str(elsewhere))


def usual_gates(precision: Precision, run: RunOptions) -> Gates:
    """Return the gates of a precision; those of bfloat16 where the runtime may narrow it so."""
    narrowed = run.inference_precision is InferencePrecision.DEVICE
    if narrowed and precision in (Precision.FP32, Precision.FP16):
        return GATES[Precision.BF16]
    return GATES[precision]


def eager(artefact: Artefact, run: RunOptions = RunOptions()) -> RunnerSpec:
    """Return the spec of the network an artefact came from, in eager PyTorch.

    What OpenVINO computes in says nothing there.
    """
    return RunnerSpec(artefact, replace(run, implementation=Implementation.EAGER))
