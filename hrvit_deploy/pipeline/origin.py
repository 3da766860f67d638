"""What is known of another tool's graph from elsewhere: artefact, checkpoint, options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hrvit_deploy.artefact import Artefact, Kind, Manifest, Network, Source
from hrvit_deploy.errors import UsageError
from hrvit_deploy.foreign.place import own_sidecar
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.model.variants import NetworkSpec
from hrvit_deploy.options import IMAGENET_MEAN, IMAGENET_STD, ImageSize
from hrvit_deploy.pipeline import stages
from hrvit_deploy.progress import Progress
from hrvit_deploy.verdict import inherited, require_usable, verdict_of

if TYPE_CHECKING:
    from hrvit_deploy.trained import Trained

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
        output: Name of the output that is used; empty for the first.
        class_names: In the order of the scores; empty where nobody says them.
        images: To compare on.
        accept: Take a graph all the same that misses, and say so in its sidecar.
        folder: Where the graph is copied to; None to leave it in its place.
    """

    like: Artefact | None = None
    spec: NetworkSpec | None = None
    size: ImageSize | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    num_classes: int | None = None
    output: str = ""
    class_names: tuple[str, ...] = ()
    images: ImageSource = field(default_factory=ImageSource)
    accept: bool = False
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
        compared_with: The reference.
        compared_sha256: Of the artefact or the checkpoint.
        accepted: What was missed by the reference, and taken in spite of it.
        trained: The network, where a checkpoint is given.
    """

    network: Network | None
    size: ImageSize | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sources: tuple[Source, ...] = ()
    compared_with: str = ""
    compared_sha256: str = ""
    accepted: tuple[str, ...] = ()
    trained: Trained | None = None

    def network_at(self, size: ImageSize) -> Network | None:
        """Return the network, with what it costs at that size where it was built."""
        return self.network if self.trained is None else self.trained.at(size).described


def find_known(path: Path, request: AdoptRequest, progress: Progress) -> Known:
    """Gather what is known: of the artefact, of the checkpoint, or from the options."""
    like = request.like
    if like is not None:
        if like.manifest.kind is not Kind.ONNX:
            raise UsageError(
                f"{like.path} is a {like.manifest.kind}, and a graph is like a graph",
                "give the graph it was built from with --like",
            )
        sources, sha256 = like.as_source(), like.manifest.sha256
        known = _of_manifest(like.manifest, sources, str(like.path), sha256)
        return replace(known, accepted=taken_with(like, request))
    if request.spec is not None:
        loaded = stages.load(request.spec, progress)
        names = request.class_names or loaded.described.class_names
        trained = replace(loaded, described=replace(loaded.described, class_names=names))
        known = _from_options(request)
        return replace(
            known,
            network=trained.described,
            sources=trained.sources,
            compared_with=EAGER,
            compared_sha256=trained.sources[0].sha256,
            trained=trained,
        )
    stale = own_sidecar(path)
    if stale is not None and stale.network.variant is not None and not _says(request):
        progress.note(f"its sidecar says what {path.name} was before: it is compared with that")
        sources = stale.sources
        return _of_manifest(stale, sources, EAGER, sources[-1].sha256 if sources else "")
    return _from_options(request)


def taken_with(artefact: Artefact, request: AdoptRequest) -> tuple[str, ...]:
    """Return what is accepted together with an artefact that a graph is taken for.

    Raises:
        GateError: It was refused, and nobody accepts it.
    """
    manifest, verdict = artefact.manifest, verdict_of(artefact.manifest)
    if verdict.usable:
        return inherited(manifest)
    if not request.accept:
        require_usable(artefact)
    return *inherited(manifest), f"{manifest.precision}: {verdict.reason}"


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
        inherited(manifest),
    )


def _from_options(request: AdoptRequest) -> Known:
    return Known(None, request.size, request.mean or IMAGENET_MEAN, request.std or IMAGENET_STD)
