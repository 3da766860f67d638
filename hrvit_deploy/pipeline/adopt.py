"""A graph that another tool wrote becomes an artefact: compared first, then described.

Without a sidecar nobody knows what a graph is. Here it gets one: by comparing it with an
artefact or with a checkpoint's network, from which the sidecar takes over what cannot be read
from the graph; or, for another network than HRViT, from what the user says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy.artefact import (
    Artefact,
    Kind,
    Manifest,
    Network,
    Origin,
    Parity,
    Preparation,
    Source,
    TensorInfo,
    Weights,
    sha256_of,
)
from hrvit_deploy.errors import ArtefactError, GateError, InputError, UsageError
from hrvit_deploy.foreign import describe
from hrvit_deploy.foreign.place import choose_place, own_sidecar
from hrvit_deploy.foreign.read import MICROSOFT, external_names, nodes_of, read_graph
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageSize,
    OutputFormat,
    Task,
    check_output,
    check_size,
)
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import RunnerSpec
from hrvit_deploy.version import VERSION

if TYPE_CHECKING:
    from onnx import ModelProto

EAGER = "eager"


@dataclass(frozen=True)
class AdoptRequest:
    """What a user says about a graph that another tool wrote.

    Attributes:
        like: The artefact whose outputs it should have.
        spec: Or the checkpoint and the variant whose outputs it should have. With neither, it
            is another network.
        size: Of its images; None for what the graph says.
        mean: Of the images it was trained on, per channel on a 0..255 scale; None for the
            artefact's, or ImageNet's.
        std: Their standard deviation, likewise.
        num_classes: Of another network that returns labels; None for the number of scores.
        class_names: In the order of the scores; empty where nobody says them.
        images: To compare on.
        folder: Where the graph is copied to; None to leave it in its place.
    """

    like: Artefact | None = None
    spec: NetworkSpec | None = None
    size: ImageSize | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    images: ImageSource = field(default_factory=ImageSource)
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.like is not None and self.spec is not None:
            raise UsageError(
                "a graph is compared with an artefact or with a checkpoint, not with both",
                "give --like, or --variant and --checkpoint",
            )
        said = (self.size, self.mean, self.std, self.num_classes, self.class_names or None)
        if self.like is not None and any(value is not None for value in said):
            raise UsageError(
                f"--like takes size, preparation and classes from {self.like.path.name}",
                "leave --size, --mean, --std, --num-classes and --classes out",
            )


@dataclass(frozen=True)
class Known:
    """What is known of a graph before it is run, from elsewhere than itself.

    Attributes:
        network: None for another network, which is described by its graph.
        sources: What the sidecar names as made from.
        compared_with: The reference, and its hash.
    """

    network: Network | None
    size: ImageSize | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sources: tuple[Source, ...] = ()
    compared_with: str = ""
    compared_sha256: str = ""


def adopt(path: Path, request: AdoptRequest, progress: Progress) -> Artefact:
    """Compare a graph with its reference and give it a sidecar.

    Args:
        path: ``NAME.onnx``; it is not changed.
        request: What it is compared with, or what it is.
        progress: Shown each step.

    Returns:
        The artefact, in its place or copied.

    Raises:
        ArtefactError: It is no graph, one that a sidecar cannot describe, or something of
            others lies where a file would go.
        GateError: It does not answer as its reference does; nothing is written.
        RunnerError: It does not run.
    """
    model = read_graph(path)
    place = choose_place(path, request.folder, external_names(model))
    known = _known(path, request, progress)
    described = _describe(path, model, known, request, progress)
    if described.manifest.network.variant is None and request.like is None:
        progress.note(
            f"{path.name} is taken in as another network, compared with nothing: hrvit-deploy"
            " verify compares it with itself in another runtime"
        )
    else:
        parity = stages.measure_parity(described, request.like, request.images, progress)
        require(path, parity)
        described = replace(described, manifest=replace(described.manifest, parity=parity))
    return place.write(described)


def require(path: Path, parity: Parity) -> None:
    """Refuse a graph that does not answer as its reference does.

    Raises:
        GateError: It does not; with the figures.
    """
    if not parity.passed:
        raise GateError(
            f"{path} does not answer as {parity.reference} does on {parity.images} images:"
            f" {parity.note}; cosine {parity.cosine:.6f}, agreement {parity.agreement:.4f}",
            "nothing was written: check that it is that network, its weights, its size and"
            " what its images are normalised by",
        )


def _known(path: Path, request: AdoptRequest, progress: Progress) -> Known:
    """Gather what is known: of the artefact, of the checkpoint, or from the options."""
    like = request.like
    if like is not None:
        if like.manifest.kind is not Kind.ONNX:
            raise UsageError(
                f"{like.path} is a {like.manifest.kind}, and a graph is like a graph",
                "give the graph it was built from with --like",
            )
        sources = like.as_source()
        return _of_manifest(like.manifest, sources, str(like.path), like.manifest.sha256)
    if request.spec is not None:
        trained = stages.load(request.spec, progress)
        described = replace(
            trained.described,
            class_names=request.class_names or trained.described.class_names,
        )
        checkpoint = trained.sources[0].sha256 if trained.sources else ""
        return _from_options(request, described, trained.sources, EAGER, checkpoint)
    stale = own_sidecar(path)
    if stale is not None and stale.network.variant is not None and not _says(request):
        progress.note(f"its sidecar says what {path.name} was before: it is compared with that")
        sources = stale.sources
        return _of_manifest(stale, sources, EAGER, sources[-1].sha256 if sources else "")
    return _from_options(request, None)


def _says(request: AdoptRequest) -> bool:
    said = (request.size, request.mean, request.std, request.num_classes)
    return any(said) or bool(request.class_names)


def _of_manifest(
    manifest: Manifest, sources: tuple[Source, ...], compared_with: str, sha256: str
) -> Known:
    preparation = manifest.preparation
    return Known(
        manifest.network,
        preparation.size,
        preparation.mean,
        preparation.std,
        sources,
        compared_with,
        sha256,
    )


def _from_options(
    request: AdoptRequest,
    network: Network | None,
    sources: tuple[Source, ...] = (),
    compared_with: str = "",
    sha256: str = "",
) -> Known:
    return Known(
        network,
        request.size,
        request.mean or IMAGENET_MEAN,
        request.std or IMAGENET_STD,
        sources,
        compared_with,
        sha256,
    )


def _describe(
    path: Path, model: ModelProto, known: Known, request: AdoptRequest, progress: Progress
) -> Artefact:
    """Describe a graph, by what it holds and by one run of it."""
    taken = describe.image_input(path, model, known.size)
    if known.network is not None and known.network.variant is not None:
        check_size(taken.size)
    preparation = Preparation(taken.size, taken.format, known.mean, known.std)
    if known.network is None and request.mean is None and taken.info.dtype != "uint8":
        progress.warn(
            "no --mean and --std: images are normalised as for ImageNet, which this network"
            " may not have been trained on"
        )
    others = sorted({node.domain for node in nodes_of(model) if MICROSOFT in node.domain})
    if others:
        progress.note(f"it has operators of {', '.join(others)}: only onnxruntime runs it")
    output = _run(path, model, taken, preparation, request.images)
    network = known.network or _unknown(path, model, output, request)
    if request.spec is not None:
        from hrvit_deploy.trained import costs_at

        network = costs_at(network, taken.size)
    _check_fits(path, output, network)
    manifest = _manifest(path, model, network, taken.info, preparation)
    origin = Origin(
        path.name, describe.producer_of(model), known.compared_with, known.compared_sha256
    )
    return Artefact(
        path,
        replace(
            manifest,
            output_format=output.format,
            outputs=(output.info,),
            sources=known.sources,
            origin=origin,
        ),
    )


def _manifest(
    path: Path,
    model: ModelProto,
    network: Network,
    taken: TensorInfo,
    preparation: Preparation,
) -> Manifest:
    """Return a sidecar that says nothing yet of the output but its name."""
    producer = describe.producer_of(model)
    precision, quantization = describe.precision_of(model)
    graph = describe.describe(path, model, f"as {producer or 'another tool'} wrote it")
    name = describe.output_name(path, model)
    return Manifest(
        kind=Kind.ONNX,
        sha256=sha256_of(path),
        network=network,
        precision=precision,
        output_format=OutputFormat.LOGITS,
        inputs=(taken,),
        outputs=(TensorInfo(name, (taken.shape[0],), "float32", ""),),
        preparation=preparation,
        versions={"hrvit-deploy": VERSION},
        options={"precision": precision, "opset": graph.opset, "batch": taken.batch},
        graph=graph,
        quantization=quantization,
    )


def _run(
    path: Path,
    model: ModelProto,
    taken: describe.ImageInput,
    preparation: Preparation,
    images: ImageSource,
) -> describe.ImageOutput:
    """Run the graph on one image: shapes that a graph states may be open, or wrong."""
    from hrvit_deploy.inference.open import open_prepared
    from hrvit_deploy.inference.prepared_runner import DYNAMIC_BATCH

    nothing = Network(None, Task.SEGMENT, 0, Weights.UNKNOWN, name=path.stem)
    artefact = Artefact(path, _manifest(path, model, nothing, taken.info, preparation))
    image = next(replace(images, limit=1).open(taken.size), None)
    if image is None:
        raise InputError("there is no image to run it on", "give a folder with --images DIR")
    batch = taken.info.batch or DYNAMIC_BATCH
    with open_prepared(RunnerSpec(artefact), batch=batch) as prepared:
        (array,) = prepared.outputs([image])
    name = artefact.manifest.outputs[0].name
    return describe.image_output(path, name, array, taken.size, taken.info.shape[0])


def _unknown(
    path: Path, model: ModelProto, output: describe.ImageOutput, request: AdoptRequest
) -> Network:
    """Describe another network by its graph and what the user says of it."""
    classes = output.classes or request.num_classes or len(request.class_names)
    for what, count in (
        ("--num-classes", request.num_classes or classes),
        ("--classes", len(request.class_names) or classes),
    ):
        if count != classes:
            raise UsageError(
                f"{path.name} returns {classes} scores, and {what} says {count} classes",
                "give as many as it was trained on, in the order of the scores",
            )
    return Network(
        variant=None,
        task=output.task,
        num_classes=classes,
        weights=Weights.UNKNOWN,
        parameters=describe.count_parameters(model),
        class_names=request.class_names,
        name="".join(c for c in path.stem if c.isprintable()),
    )


def _check_fits(path: Path, output: describe.ImageOutput, network: Network) -> None:
    """Refuse a graph that returns something else than its network does."""
    if output.task is not network.task:
        raise ArtefactError(
            f"{path} {output.task}s by its outputs, and {network.title} is one to"
            f" {network.task}",
            "compare it with the network it was made from",
        )
    if output.classes and output.classes != network.num_classes:
        raise ArtefactError(
            f"{path} returns {output.classes} scores, and {network.title} tells"
            f" {network.num_classes} classes apart",
            "compare it with the network it was made from",
        )
    if network.variant is not None:
        check_output(network.task, output.format, network.num_classes)
