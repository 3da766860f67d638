"""A file any tool can load, and a sidecar that says all there is to know of it.

``NAME.onnx`` or ``NAME.plan`` carries no prefix and no wrapper; ``NAME.json`` beside it
holds a :class:`Manifest`. Both appear under their names only when they are whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from hrvit_deploy.encoding import encode_json
from hrvit_deploy.errors import ArtefactError, UsageError
from hrvit_deploy.model.variants import Variant
from hrvit_deploy.normalisation import check_scale
from hrvit_deploy.options import (
    DECIDING,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Group,
    ImageSize,
    InputFormat,
    OutputFormat,
    Precision,
    Task,
)
from hrvit_deploy.progress import Progress
from hrvit_deploy.staging import identity, is_file_name, settle, settle_all, staging
from hrvit_deploy.standalone import lfs

SCHEMA = 1
# What stands in pages, commands and what programs print, whoever wrote the sidecar.
PLAIN_NAME = re.compile(r"[\w .+-]{0,100}")
# Where a graph was quantized that carries its ranges already.
ELSEWHERE = "elsewhere"
# Times an artefact is read again that is replaced while it is read.
RETRIES = 5


class Kind(StrEnum):
    """What kind of file it is; also its suffix."""

    ONNX = "onnx"
    PLAN = "plan"


class Weights(StrEnum):
    """Where the parameters came from."""

    CHECKPOINT = "checkpoint"
    RANDOM = "random"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Network:
    """The network an artefact computes, enough to build an HRViT again in PyTorch.

    Attributes:
        variant: None for another network than HRViT, of which the graph is all there is.
        task: None for outputs that are no scores and no labels: nothing is decided by them.
        num_classes: 0 where nobody said how many there are.
        weights: Random weights give random outputs; they measure speed and parity only.
        seed: Of random weights; unused with a checkpoint.
        weights_key: Entry of the checkpoint the weights were under; empty for a bare one.
        multiply_adds: Of convolutions and products, for one image of the exported size.
        class_names: In the order of the scores; empty where the checkpoint names none.
        name: Of another network than HRViT: its graph's.
    """

    variant: Variant | None
    task: Task | None
    num_classes: int
    weights: Weights
    seed: int = 0
    weights_key: str = ""
    in_channels: int = 3
    parameters: int = 0
    multiply_adds: int = 0
    class_names: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        if not PLAIN_NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot name a network",
                "pages and programs are written with it: take letters, digits, spaces, dots,"
                " dashes and underscores, 100 at most",
            )

    @property
    def title(self) -> str:
        """``HRViT-b1``, or the name of another network."""
        return f"HRViT-{self.variant.name}" if self.variant else self.name

    @property
    def decides(self) -> bool:
        """Whether its outputs decide a class, of an image or of each pixel."""
        return self.task in DECIDING

    @property
    def built_task(self) -> Task:
        """What an HRViT is built for, its backbone alone included.

        Raises:
            ArtefactError: It is another network, of which nobody knows.
        """
        return self.known_task if self.task is None else self.task

    @property
    def known_task(self) -> Task:
        """What it decides.

        Raises:
            ArtefactError: It decides nothing that is known here.
        """
        if self.task is None or not self.decides:
            maps = "feature maps" if self.task else "neither scores nor labels"
            raise ArtefactError(
                f"{self.title} returns {maps}, and decides nothing here",
                f"{'verify, bench' if self.task else 'verify, bench, calibrate, quantize'} and"
                " build-trt take it; read its outputs in a program of your own",
            )
        return self.task

    @property
    def hrvit(self) -> Variant:
        """Its variant.

        Raises:
            ArtefactError: It is another network than HRViT.
        """
        if self.variant is None:
            raise ArtefactError(
                f"{self.name} is a graph of another network, which PyTorch cannot build here",
                "compare it with another graph; without --against, verify takes the"
                " same one in another runtime",
            )
        return self.variant


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: shape in elements, ``"batch"`` where it is dynamic."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str

    @property
    def batch(self) -> int | None:
        """Images per run, None when dynamic."""
        first = self.shape[0]
        return first if isinstance(first, int) else None


@dataclass(frozen=True)
class Preparation:
    """How an RGB image becomes the input: resize, then normalise, then lay out.

    Attributes:
        mean: Per channel on a 0..255 scale; applied outside the graph for float inputs,
            inside it for uint8 ones.
        std: Per channel on the same scale, applied where the mean is.
        resize: Bilinear with antialiasing, to the exact size; aspect is not kept.
    """

    size: ImageSize
    format: InputFormat = InputFormat.FLOAT_NCHW
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    color: str = "RGB"
    resize: str = "bilinear-antialias"

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise UsageError(
                f"a deviation of {min(self.std)} cannot be divided by",
                "give the deviations the network was trained with, all above 0",
            )
        check_scale(self.mean, self.std)


@dataclass(frozen=True)
class Source:
    """A file this artefact was made from, nearest first, the checkpoint last."""

    kind: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Graph:
    """What the ONNX file holds.

    Attributes:
        nodes: Operator type to how often it stands in the graph.
        rewrites: Names of the deploy rewrites, in the order applied.
        simplified: Whether onnxsim's result was kept; if not, ``note`` says why.
        float32_islands: Nodes left in float32 inside a narrower graph, with the largest
            magnitude measured there.
    """

    opset: int
    nodes: dict[str, int]
    rewrites: tuple[str, ...] = ()
    simplified: bool = False
    note: str = ""
    float32_islands: dict[str, float] = field(default_factory=dict)
    external_data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Quantization:
    """How values were brought to eight bits.

    Attributes:
        precision: INT8 or FP8 (E4M3).
        rest: Type of everything that is not quantized.
        groups: Kinds of products that were quantized.
        products: How many multiply in eight bits.
        kept: Products of those kinds left in float, by name; the worst first.
        method: How ranges were chosen; ``elsewhere`` for a graph that came quantized.
        images: How many were calibrated on.
        images_sha256: Of their contents.
        random_data: It was calibrated on noise: the ranges mean nothing.
        ranges_sha256: Of the file of ranges.
    """

    precision: Precision
    rest: Precision
    products: int
    groups: tuple[Group, ...] = ()
    kept: tuple[str, ...] = ()
    method: str = ELSEWHERE
    images: int = 0
    images_sha256: str = ""
    random_data: bool = False
    ranges_sha256: str = ""


@dataclass(frozen=True)
class Gate:
    """What eight bits cost in what the network is for.

    Attributes:
        metric: ``miou``, ``top1``, or ``agreement`` where there are no labels: the mean
            intersection over union with the float graph's decisions, over the classes that
            it decides.
        reference: What the float graph reaches.
        candidate: What this one reaches.
        limit: The least that passes.
        images: How many it was measured on.
        data: Where those are.
        constant: What the best answer reaches that is the same class everywhere.
        share: Of equal decisions, where the metric is ``agreement``.
        unjudged: Why these data cannot judge it; empty where they can.
        held: Whether a miss counts: for random weights, only a limit that is given does.
        accepted: Somebody took the artefact in spite of a miss.
        seen: Of the images, how many it was calibrated on; None where nobody can tell.
    """

    metric: str
    reference: float
    candidate: float
    limit: float
    passed: bool
    images: int
    data: str = ""
    constant: float | None = None
    share: float | None = None
    unjudged: str = ""
    held: bool = True
    accepted: bool = False
    seen: int | None = None


@dataclass(frozen=True)
class Engine:
    """What the plan holds, and where it runs.

    Attributes:
        backend: ``tensorrt`` or ``tensorrt-rtx``.
        version: Of the library that built it; TensorRT runs plans of its own version.
        layers: Type of a layer's first output to the number of such layers.
        products: The same, of convolutions and matrix products alone.
        weight_bytes: Of the constants of the parsed network.
        quantized_bytes: Of these, the ones stored in eight bits.
        quantized_layers: Products that multiply in eight bits.
        compute_capabilities: GPUs it runs on; ``12.0+`` means that one and later.
    """

    backend: str
    version: str
    layers: dict[str, int]
    products: dict[str, int]
    weight_bytes: int
    build_seconds: float
    compute_capabilities: tuple[str, ...] = ()
    gpu: str = ""
    driver: str = ""
    quantized_layers: int = 0
    quantized_bytes: int = 0

    def __post_init__(self) -> None:
        # Not repeated in the message: nobody is to copy it from there either.
        if not all(map(PLAIN_NAME.fullmatch, (self.backend, self.version))):
            raise UsageError("its backend or version is none", "build the plan again")
        if not all(map(PLAIN_NAME.fullmatch, self.compute_capabilities)):
            raise UsageError("its compute capabilities are none", "build the plan again")


@dataclass(frozen=True)
class Parity:
    """How far the artefact's outputs lie from a reference's, over all images.

    Attributes:
        candidate: What ran the artefact.
        note: Which gates were missed.
        agreement: Share of equal decisions.
        class_agreement: Mean intersection over union of the decisions, over the classes that
            the reference decides; None where it was not measured.
        constant_agreement: The same, of the best answer that is one class everywhere.
        constant_share: Share of equal decisions of that answer.
        unjudged: Why these images cannot judge it; empty where they can.
        held: Whether a miss counts: eight bits of random weights are told only.
        accepted: Somebody took the artefact in spite of a miss.
    """

    reference: str
    images: int
    max_abs: float
    mean_abs: float
    cosine: float
    agreement: float
    passed: bool
    gates: dict[str, float]
    note: str = ""
    candidate: str = ""
    class_agreement: float | None = None
    constant_agreement: float | None = None
    constant_share: float | None = None
    unjudged: str = ""
    held: bool = True
    accepted: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a graph came from that this package did not write.

    Attributes:
        file: What it was called.
        producer: The tool that wrote it and its version, as the graph names them; empty
            where it names none.
        compared_with: The artefact, or ``eager`` with a checkpoint; empty for a graph of
            another network, which was compared with nothing.
        compared_sha256: Of that artefact or checkpoint.
    """

    file: str
    producer: str = ""
    compared_with: str = ""
    compared_sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """The sidecar. See docs/reference/artefacts.md.

    Attributes:
        output_format: None for outputs that are no scores and no labels.
        origin: Of a graph that another tool wrote; its descendants keep it.
        accepted: What was missed by the artefacts this one was made from, and taken in spite
            of it, in words.
    """

    kind: Kind
    sha256: str
    network: Network
    precision: Precision
    output_format: OutputFormat | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    preparation: Preparation
    versions: dict[str, str]
    options: dict[str, Any]
    sources: tuple[Source, ...] = ()
    graph: Graph | None = None
    engine: Engine | None = None
    parity: Parity | None = None
    quantization: Quantization | None = None
    gate: Gate | None = None
    origin: Origin | None = None
    accepted: tuple[str, ...] = ()
    schema: int = SCHEMA

    @property
    def float_type(self) -> Precision:
        """The precision of all that is not in eight bits."""
        return self.quantization.rest if self.quantization else self.precision


@dataclass(frozen=True)
class Artefact:
    """A file and what its sidecar says."""

    path: Path
    manifest: Manifest

    @property
    def sidecar(self) -> Path:
        """Where the sidecar lies."""
        return sidecar_of(self.path)

    def as_source(self) -> tuple[Source, ...]:
        """Return this artefact and all it was made from, for the next one's sidecar."""
        own = Source(self.manifest.kind, self.path.name, self.manifest.sha256)
        return (own, *self.manifest.sources)


def sidecar_of(path: Path) -> Path:
    """Return ``NAME.json`` for ``NAME.onnx`` or ``NAME.plan``."""
    return path.with_suffix(".json")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """Convert dataclasses, enums, tuples and paths to the JSON types they are read back as."""
    return msgspec.json.decode(encode_json(value))


def write_sidecar(
    path: Path, manifest: Manifest, unchanged: Callable[[], bool] | None = None
) -> None:
    """Write ``path``'s sidecar, whole or not at all.

    Args:
        path: ``NAME.onnx`` or ``NAME.plan``.
        manifest: What the sidecar is to say.
        unchanged: Says whether it is still to be written; see :func:`staging`.

    Raises:
        ArtefactError: It cannot be written.
    """
    sidecar = sidecar_of(path)
    encoded = msgspec.json.format(encode_json(manifest), indent=2)
    with staging(sidecar, unchanged) as folder:
        (folder / sidecar.name).write_bytes(encoded + b"\n")


def record(artefact: Artefact, *, progress: Progress | None = None, **changes: Any) -> Artefact:
    """Change those fields of an artefact, in its sidecar on disk too.

    Args:
        artefact: To be changed.
        progress: Warned where the sidecar cannot be renewed, such as in a folder mounted
            read-only: what was measured counts all the same. None for an error.
        changes: Fields of the manifest.

    Raises:
        ArtefactError: The sidecar cannot be written.
    """
    changed = replace(artefact, manifest=replace(artefact.manifest, **changes))

    def unchanged() -> bool:
        present = known_sidecar(artefact.path)
        return present is None or present.sha256 == artefact.manifest.sha256

    try:
        write_sidecar(changed.path, changed.manifest, unchanged)
    except ArtefactError as error:
        if progress is None:
            raise
        progress.warn(f"{error.message}; what was measured is not noted there")
    return changed


def open_artefact(path: Path) -> Artefact:
    """Read an artefact's sidecar and check that the file is the one it speaks of.

    What a killed process began to write there is finished first; what another replaces
    meanwhile is read again.

    Raises:
        ArtefactError: File or sidecar is missing, broken, of another schema, or the
            file's hash is not the recorded one.
    """
    for _ in range(RETRIES):
        settle(path)
        before = identity(path), identity(sidecar_of(path))
        try:
            return _open(path)
        except ArtefactError:
            if (identity(path), identity(sidecar_of(path))) == before:
                raise
    return _open(path)


def _open(path: Path) -> Artefact:
    sidecar = sidecar_of(path)
    refuse_pointer(path)
    for needed in (path, sidecar):
        if not needed.is_file():
            raise ArtefactError(
                f"there is no {needed}",
                "check the path" if needed is path else _without_sidecar(path),
            )
    manifest = read_sidecar(sidecar)
    if path.suffix != f".{manifest.kind}":
        raise ArtefactError(
            f"{sidecar} describes a .{manifest.kind}, not {path.name}",
            f"give {path.stem}.{manifest.kind}",
        )
    files = {path.name: manifest.sha256}
    if manifest.graph is not None:
        files |= manifest.graph.external_data
    for name, expected in files.items():
        if not is_file_name(name):
            raise ArtefactError(
                f"{sidecar} names weights in {name!r}, which is no file beside it",
                f"run {RERUN[manifest.kind]} again, or restore the file",
            )
        file = path.parent / name
        if not file.is_file():
            raise ArtefactError(
                f"there is no {file}, which holds the weights of {path.name}",
                f"copy it beside {path.name}, or run {RERUN[manifest.kind]} again",
            )
        refuse_pointer(file)
        if sha256_of(file) != expected:
            raise ArtefactError(
                f"{file} is not the file its sidecar describes (SHA-256 differs)",
                f"run {RERUN[manifest.kind]} again, or restore the file{_written_again(path)}",
            )
    return Artefact(path, manifest)


def refuse_pointer(path: Path) -> None:
    """Refuse a pointer of Git LFS in a file's place.

    Raises:
        ArtefactError: It is one.
    """
    if lfs.is_pointer_file(path):
        raise ArtefactError(f"{path} is a Git LFS pointer, not the file", lfs.HINT)


def _without_sidecar(path: Path) -> str:
    """Say what to do about a file that has no sidecar."""
    needs = f"{path.name} needs its sidecar; copy both, or export again"
    if path.suffix != f".{Kind.ONNX}":
        return needs
    return f"{needs}; or, where another tool wrote it, run {ADOPT} {path}"


def _written_again(path: Path) -> str:
    if path.suffix != f".{Kind.ONNX}":
        return ""
    return f"; or, where another tool wrote it again, run {ADOPT} {path}"


ADOPT = "hrvit-deploy adopt"
RERUN = {Kind.ONNX: "hrvit-deploy export", Kind.PLAN: "hrvit-deploy build-trt"}


def read_sidecar(sidecar: Path) -> Manifest:
    """Decode a sidecar, checking its schema first."""
    refuse_pointer(sidecar)
    try:
        fields = msgspec.json.decode(sidecar.read_bytes())
        schema = fields.get("schema") if isinstance(fields, dict) else None
        if schema != SCHEMA:
            raise ArtefactError(
                f"{sidecar} has schema {schema}, this version reads {SCHEMA}",
                "make the artefact again with this version of hrvit-deploy",
            )
        return msgspec.convert(fields, Manifest)
    except OSError as error:
        raise ArtefactError(
            f"cannot read {sidecar}: {error.strerror}", "check the path and its permissions"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, UsageError) as error:
        raise ArtefactError(
            f"{sidecar} is not a sidecar: {error}",
            "make the artefact again, or restore the file",
        ) from error


def known_sidecar(path: Path, progress: Progress | None = None) -> Manifest | None:
    """Read the sidecar of a file that was only come across; None if it has none of ours.

    Args:
        path: A graph or a plan.
        progress: Shown what the JSON beside it is instead.
    """
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        return None
    try:
        return read_sidecar(sidecar)
    except ArtefactError as error:
        if progress is not None:
            progress.note(f"{path} is passed over: {error.message}")
        return None


def newest(
    folder: Path,
    kind: Kind,
    fits: Callable[[Manifest], bool] = lambda _: True,
    *,
    progress: Progress | None = None,
) -> Artefact:
    """Open the artefact of that kind written last in ``folder``; see :func:`find_newest`.

    Raises:
        ArtefactError: There is none, or it is not what its sidecar says.
    """
    return open_artefact(find_newest(folder, kind, fits, progress=progress))


def find_newest(
    folder: Path,
    kind: Kind,
    fits: Callable[[Manifest], bool] = lambda _: True,
    *,
    progress: Progress | None = None,
) -> Path:
    """Find the artefact of that kind written last in ``folder``, unopened.

    Args:
        folder: Where to look; not below it.
        kind: Of file.
        fits: Which of them will do.
        progress: Shown which files are passed over, since the JSON beside them is none of
            ours.

    Raises:
        ArtefactError: There is none.
    """
    known = {path: known_sidecar(path, progress) for path in sorted(folder.glob(f"*.{kind}"))}
    settle_all(folder)
    fitting = [path for path, manifest in known.items() if manifest and fits(manifest)]
    if not fitting:
        raise ArtefactError(
            f"there is no fitting .{kind} in {folder}/ that was not refused",
            f"name one, or run {RERUN[kind]} first",
        )
    return max(fitting, key=lambda path: path.stat().st_mtime_ns)
