"""Trained networks: loaded the first time, and found again from a sidecar."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from hrvit_deploy.artefact import Manifest, Network, Source, Weights, sha256_of
from hrvit_deploy.errors import CheckpointError
from hrvit_deploy.model import network as torch_network
from hrvit_deploy.model.checkpoint import (
    CLASS_KEYS,
    Checkpoint,
    classes_in,
    find_variant,
    has_head,
    load_network,
    read_checkpoint,
)
from hrvit_deploy.model.checkpoint_file import parts_of
from hrvit_deploy.model.recorded import Recorded
from hrvit_deploy.model.variants import VARIANTS, NetworkSpec
from hrvit_deploy.options import DEFAULT_CLASSES, ImageSize, Task, check_classes

CHECKPOINT = "checkpoint"
# Where neither an option nor a checkpoint says it.
DEFAULT_VARIANT = "b1"


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, what it is, and where it came from.

    Attributes:
        notes: What its checkpoint was read with, a line each.
        recorded: What its checkpoint says of the images it was trained on.
    """

    network: torch_network.Network
    described: Network
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    recorded: Recorded = field(default_factory=Recorded)

    def at(self, size: ImageSize) -> Trained:
        """Return the same, with its costs at that size in its description."""
        return replace(self, described=costs_at(self.described, size))


def load(request: NetworkSpec) -> Trained:
    """Load the network with its checkpoint's weights, or with random ones.

    Raises:
        CheckpointError: The weights cannot be read or do not fit.
    """
    if request.checkpoint is None:
        return _random(request)
    checkpoint = read_checkpoint(request.checkpoint, request.entry)
    notes = list(checkpoint.notes)
    variant = request.variant
    if variant is None:
        variant = find_variant(checkpoint)
        notes.append(f"is HRViT-{variant.name} by its shapes")
    task = request.task or _only_task(checkpoint)
    if task is Task.FEATURES:
        notes.append("is exported without a head: its four feature maps")
    classes = request.num_classes
    if classes is None or task is Task.FEATURES:
        classes = _classes(checkpoint, task)
    check_classes(task, classes)
    named = checkpoint.class_names
    if named and len(named) != classes:
        notes.append(f"names {len(named)} classes and tells {classes} apart: names left out")
    described = Network(
        variant=variant,
        task=task,
        num_classes=classes,
        weights=Weights.CHECKPOINT,
        weights_key=checkpoint.key,
        class_names=named if len(named) == classes else (),
    )
    network = load_network(
        checkpoint, variant, task, classes, ignore_unexpected=request.ignore_unexpected
    )
    source = Source(CHECKPOINT, str(request.checkpoint), hash_of(request.checkpoint))
    return Trained(network, described, (source,), tuple(notes), checkpoint.recorded)


def hash_of(checkpoint: Path) -> str:
    """Return the SHA-256 of a checkpoint; of several files that of their SHA-256s, in order."""
    digests = [sha256_of(part) for part in parts_of(checkpoint)]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


def _classes(checkpoint: Checkpoint, task: Task) -> int:
    """Return the number of classes of the checkpoint's head.

    Raises:
        CheckpointError: It has one channel, which a threshold decides and an argmax does not.
    """
    if task is Task.FEATURES:
        return 0
    classes = classes_in(checkpoint, task)
    if classes == 1:
        key = CLASS_KEYS[task].removesuffix(".weight")
        raise CheckpointError(
            f"{checkpoint.path} has a head of one class, and the largest of one score is always"
            " the first",
            f"give it two channels, nought and the score: for {key}.weight and {key}.bias,"
            " state[name] = torch.cat([0 * state[name], state[name]])",
        )
    return classes


def describe(request: NetworkSpec, size: ImageSize) -> Network:
    """Describe what a network of that kind is and costs at that size, without building one."""
    return costs_at(_about(request), size)


def costs_at(described: Network, size: ImageSize) -> Network:
    """Return the description of an HRViT with what it costs at that size."""
    shape = (described.hrvit, described.built_task, described.num_classes)
    channels = described.in_channels
    network = torch_network.build_on_meta(*shape, channels)
    return replace(
        described,
        parameters=torch_network.count_parameters(network),
        multiply_adds=torch_network.count_multiply_adds(*shape, size, channels),
    )


def _random(request: NetworkSpec) -> Trained:
    described = _about(request)
    return Trained(_rebuild(described), described)


def _about(request: NetworkSpec) -> Network:
    task = request.task or Task.CLASSIFY
    classes = request.num_classes
    check_classes(task, DEFAULT_CLASSES[task] if classes is None else classes)
    return Network(
        variant=request.variant or VARIANTS[DEFAULT_VARIANT],
        task=task,
        num_classes=DEFAULT_CLASSES[task]
        if classes is None or task is Task.FEATURES
        else classes,
        weights=Weights.RANDOM,
        seed=request.seed,
    )


def _rebuild(described: Network) -> torch_network.Network:
    # Built without values, since it gets new ones.
    network = torch_network.build_on_meta(
        described.hrvit, described.built_task, described.num_classes, described.in_channels
    ).to_empty(device="cpu")
    torch_network.set_random_weights(network, described.seed)
    return network


def _only_task(checkpoint: Checkpoint) -> Task:
    if not checkpoint.tasks and not has_head(checkpoint):
        return Task.FEATURES
    if not checkpoint.tasks:
        # Says what is missing, or whose head it is.
        classes_in(checkpoint, Task.SEGMENT)
    if len(checkpoint.tasks) != 1:
        heads = " and ".join(checkpoint.tasks) or "no"
        raise CheckpointError(
            f"{checkpoint.path} holds {heads} head", "say which network it is with --task"
        )
    return checkpoint.tasks[0]


def find_again(manifest: Manifest, checkpoint: str = "") -> torch_network.Network:
    """Find the trained network that an artefact was made from.

    Args:
        manifest: Of any artefact; its chain of sources ends at the checkpoint.
        checkpoint: Where the weights lie now; empty for where they lay at export.

    Raises:
        ArtefactError: It is another network than HRViT.
        CheckpointError: The weights are gone, or are not those of the export.
    """
    described = manifest.network
    variant = described.hrvit
    if described.weights is Weights.RANDOM:
        return _rebuild(described)
    source = checkpoint_of(manifest)
    path = Path(checkpoint or source.path)
    if not path.exists():
        raise CheckpointError(
            f"the checkpoint {path} that this artefact came from is not there",
            "say where it is now with --checkpoint",
        )
    if hash_of(path) != source.sha256:
        raise CheckpointError(
            f"{path} is not the checkpoint this artefact came from (SHA-256 differs)",
            "give that one with --checkpoint, or export this one",
        )
    return load_network(
        read_checkpoint(path, described.weights_key),
        variant,
        described.built_task,
        described.num_classes,
        described.in_channels,
        # Whatever is unexpected was agreed to at the export of these very bytes.
        ignore_unexpected=True,
    )


def checkpoint_of(manifest: Manifest) -> Source:
    """Return the last link of the chain of sources.

    Raises:
        CheckpointError: The sidecar names none.
    """
    for source in reversed(manifest.sources):
        if source.kind == CHECKPOINT:
            return source
    raise CheckpointError(
        "the sidecar names no checkpoint to compare with", "export the network again"
    )
