"""A graph that another tool wrote becomes an artefact: compared first, then described.

Without a sidecar nobody knows what a graph is. Here it gets one: it is compared with an
artefact or with a checkpoint's network, from which the sidecar takes over what cannot be read
from the graph; or, for another network than HRViT, from what the user says.
"""

from __future__ import annotations

import re
from dataclasses import replace
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
    Weights,
    sha256_of,
)
from hrvit_deploy.errors import ArtefactError, GateError, InputError, UsageError
from hrvit_deploy.foreign import describe
from hrvit_deploy.foreign.place import choose_place, own_sidecar
from hrvit_deploy.foreign.read import MICROSOFT, external_names, nodes_of, read_graph
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.options import QUANTIZED, check_output, check_size
from hrvit_deploy.pipeline import stages
from hrvit_deploy.pipeline.origin import AdoptRequest, Known, find_known, taken_with
from hrvit_deploy.pipeline.quality_gate import QualityCriteria, gate_of_parity
from hrvit_deploy.progress import Progress
from hrvit_deploy.runners.spec import RunnerSpec
from hrvit_deploy.verdict import ACCEPT, describe_gate, describe_parity, verdict_of
from hrvit_deploy.version import VERSION

if TYPE_CHECKING:
    from onnx import ModelProto

# Of the decisions: a graph that errs by chance does not reach it.
SAME_DECISIONS = 0.99


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
        GateError: It does not answer as its reference does, or cannot be judged; nothing is
            written.
        RunnerError: It does not run.
    """
    model = read_graph(path)
    place = choose_place(path, request.folder, external_names(model))
    known = find_known(path, request, progress)
    known = replace(known, accepted=_accepted_before(path, known, request))
    described = _describe(path, model, known, request, progress)
    if described.manifest.network.variant is None and request.like is None:
        progress.note(
            f"{path.name} is taken in as another network, compared with nothing: hrvit-deploy"
            " verify compares it with itself in another runtime"
        )
    else:
        parity = stages.measure_parity(described, request.like, request.images, progress)
        if not parity.passed and request.accept:
            parity = replace(parity, accepted=True)
            progress.warn(f"{path.name} is taken in spite of this: {describe_parity(parity)}")
        require(path, parity)
        described = replace(described, manifest=replace(described.manifest, parity=parity))
        described = _gated(described, request, progress)
    return place.write(described)


def _accepted_before(path: Path, known: Known, request: AdoptRequest) -> tuple[str, ...]:
    """Add what the graph's own sidecar says that it missed before, if it has one of ours."""
    stale = own_sidecar(path)
    own = taken_with(Artefact(path, stale), request) if stale is not None else ()
    return tuple(dict.fromkeys((*known.accepted, *own)))


def _gated(artefact: Artefact, request: AdoptRequest, progress: Progress) -> Artefact:
    """Hold a quantized graph to the agreement that one quantized here is held to.

    Raises:
        GateError: It misses it, or cannot be judged, and nobody accepts it.
    """
    manifest = artefact.manifest
    like = request.like.manifest.precision if request.like is not None else None
    if manifest.precision not in QUANTIZED or like in QUANTIZED:
        # What another quantized graph decides is no float graph's decision.
        return artefact
    gate = gate_of_parity(artefact, QualityCriteria(images=request.images))
    gated = replace(artefact, manifest=replace(manifest, gate=gate))
    if gate is None or verdict_of(gated.manifest).usable:
        return gated
    reason = describe_gate(gate)
    if not request.accept:
        raise GateError(
            f"{artefact.path}: {'it cannot be judged: ' if gate.unjudged else ''}{reason}",
            "nothing was written: give images of what the network is for with --images;"
            f" {ACCEPT} takes it as it is",
        )
    progress.warn(f"{artefact.path.name} is taken in spite of this: {reason}")
    return replace(artefact, manifest=replace(manifest, gate=replace(gate, accepted=True)))


def require(path: Path, parity: Parity) -> None:
    """Refuse a graph that does not answer as its reference does, or that nobody can judge.

    Raises:
        GateError: It is one of these; with the figures.
    """
    if parity.passed or parity.accepted:
        return
    if parity.unjudged:
        raise GateError(
            f"{path} cannot be judged: {parity.unjudged}",
            "nothing was written: give images of what the network is for with --images;"
            f" {ACCEPT} takes it unproven",
        )
    alike = parity.agreement > SAME_DECISIONS
    raise GateError(
        f"{path} does not answer as {parity.reference} does on {parity.images} images:"
        f" {parity.note}; cosine {parity.cosine:.6f}, agreement {parity.agreement:.4f}",
        "nothing was written: it decides alike, so it may end in a softmax or scale its scores;"
        f" export it without, or take it all the same with {ACCEPT}"
        if alike
        else "nothing was written: check that it is that network, its weights, its size and"
        f" what its images are normalised by; {ACCEPT} takes it all the same",
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
    batches = request.images.batches(preparation, taken.info.batch or 1)
    for doubt in stages.doubts(known.trained, preparation, batches):
        progress.warn(doubt)
    others = sorted({node.domain for node in nodes_of(model) if MICROSOFT in node.domain})
    if others:
        progress.note(f"it has operators of {', '.join(others)}: only onnxruntime runs it")
    named = describe.output_names(path, model, request.output)
    bare = Artefact(path, _bare_manifest(path, model, taken, preparation, named))
    output = _run(bare, request.images)
    network = known.network_at(taken.size) or _unknown(path, model, output, request)
    _check_fits(path, output, network)
    if len(named) > 1:
        progress.note(f"of its outputs {named[0]} is used, and not {', '.join(named[1:])}")
    if output.task is None:
        progress.note(
            f"{named[0]} is neither scores nor labels: it is compared in numbers, and what it"
            " means is not judged"
        )
    producer = describe.producer_of(model)
    manifest = replace(
        bare.manifest,
        network=network,
        output_format=output.format,
        outputs=(output.info, *bare.manifest.outputs[1:]),
        sources=known.sources,
        accepted=known.accepted,
        origin=Origin(str(path), producer, known.compared_with, known.compared_sha256),
    )
    return Artefact(path, manifest)


def _bare_manifest(
    path: Path,
    model: ModelProto,
    taken: describe.ImageInput,
    preparation: Preparation,
    outputs: tuple[str, ...],
) -> Manifest:
    """Return what the graph says itself: enough to run it, and nothing of what it means."""
    producer = describe.producer_of(model)
    precision, quantization = describe.precision_of(model)
    graph = describe.describe(path, model, f"as {producer or 'another tool'} wrote it")
    return Manifest(
        kind=Kind.ONNX,
        sha256=sha256_of(path),
        network=Network(None, None, 0, Weights.UNKNOWN, name=_plain(path.stem)),
        precision=precision,
        output_format=None,
        inputs=(taken.info,),
        outputs=describe.stated_outputs(model, outputs),
        preparation=preparation,
        versions={"hrvit-deploy": VERSION},
        options={"precision": precision, "opset": graph.opset, "batch": taken.info.batch},
        graph=graph,
        quantization=quantization,
    )


def _run(artefact: Artefact, images: ImageSource) -> describe.ImageOutput:
    """Run the graph on one image: shapes that a graph states may be open, or wrong."""
    from hrvit_deploy.inference.open import open_prepared
    from hrvit_deploy.inference.prepared_runner import DYNAMIC_BATCH

    taken, size = artefact.manifest.inputs[0], artefact.manifest.preparation.size
    image = next(replace(images, limit=1).open(size), None)
    if image is None:
        raise InputError("there is no image to run it on", "give a folder with --images DIR")
    with open_prepared(RunnerSpec(artefact), batch=taken.batch or DYNAMIC_BATCH) as prepared:
        (array,) = prepared.outputs([image])
    return describe.image_output(prepared.output, array, size, taken.shape[0])


def _unknown(
    path: Path, model: ModelProto, output: describe.ImageOutput, request: AdoptRequest
) -> Network:
    """Describe another network by its graph and what the user says of it."""
    said = {"--num-classes": request.num_classes, "--classes": len(request.class_names)}
    given = [count for count in said.values() if count]
    classes = output.classes or (given[0] if output.task and given else 0)
    for option, count in said.items():
        if count and count != classes:
            raise UsageError(
                f"{path.name} returns {classes or 'no'} scores, and {option} says {count}"
                " classes",
                "give as many as it was trained on, in the order of the scores",
            )
    return Network(
        variant=None,
        task=output.task,
        num_classes=classes,
        weights=Weights.UNKNOWN,
        parameters=describe.count_parameters(model),
        class_names=request.class_names,
        name=_plain(path.stem),
    )


def _plain(stem: str) -> str:
    """Return a file's name without what could mean something to a page or a shell."""
    return re.sub(r"[^\w .+-]", "_", stem)[:100]


def _check_fits(path: Path, output: describe.ImageOutput, network: Network) -> None:
    """Refuse a graph that returns something else than its network does."""
    shape = " x ".join(map(str, output.info.shape))
    returned = f"{path} returns {output.info.name}: {output.info.dtype} {shape}"
    if output.task is not network.task:
        raise ArtefactError(
            f"{returned}, which a network to {network.task} does not",
            "export it with scores, at the whole size or a quarter of it, or with labels"
            " B x H x W; --output NAME takes another of its outputs",
        )
    if output.classes and output.classes != network.num_classes:
        raise ArtefactError(
            f"{returned}, and {network.title} tells {network.num_classes} classes apart",
            "compare it with the network it was made from",
        )
    if network.variant is not None and output.format is not None:
        check_output(network.known_task, output.format, network.num_classes)
