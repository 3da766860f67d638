"""Ranges of activations, and the file that keeps them: ``calib/NAME.json``.

The file is made to be read and compared: sorted by tensor, one tensor a line. It says what
it was measured on, so that nobody quantizes a graph with another graph's ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from hrvit_deploy.artefact import (
    Artefact,
    refuse_pointer,
)
from hrvit_deploy.encoding import encode_json
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.options import CalibrationOptions, Method
from hrvit_deploy.staging import staging

SCHEMA = 1
KIND = "ranges"
RERUN = "hrvit-deploy calibrate"


@dataclass(frozen=True)
class Ranges:
    """The largest magnitude that each activation is to keep, and where that came from.

    Attributes:
        model_sha256: Of the float32 graph they were measured on.
        model: Its file name.
        images: How many images were measured.
        images_sha256: Of their contents, whatever their order and names.
        random_data: Noise was measured instead of images.
        percentile: Of that method; 100 for the others, where nothing depends on it.
        place: Where the images lay.
        samples: How many were asked for at most.
        versions: Of the tools that measured.
        amax: Tensor name to a finite magnitude above 0.
        kind: What this file is; tells it from an artefact's sidecar.
    """

    model_sha256: str
    model: str
    method: Method
    images: int
    images_sha256: str
    random_data: bool
    percentile: float
    place: str = ""
    samples: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    amax: dict[str, float] = field(default_factory=dict)
    kind: str = KIND
    schema: int = SCHEMA


def write_ranges(path: Path, ranges: Ranges) -> None:
    """Write the file, sorted by tensor, whole or not at all.

    Raises:
        ArtefactError: Nothing can be written there.
    """
    ordered = replace(ranges, amax=dict(sorted(ranges.amax.items())))
    encoded = msgspec.json.format(encode_json(ordered), indent=2)
    with staging(path) as folder:
        (folder / path.name).write_bytes(encoded + b"\n")


def read_ranges(path: Path) -> Ranges:
    """Read the file.

    Raises:
        ArtefactError: It is missing, something else, broken or of another schema.
    """
    refuse_pointer(path)
    try:
        fields = msgspec.json.decode(path.read_bytes())
        if not isinstance(fields, dict) or fields.get("kind") != KIND:
            raise ArtefactError(
                f"{path} does not hold ranges",
                f"give the file that {RERUN} wrote, and {RERUN} an --out of its own",
            )
        if fields.get("schema") != SCHEMA:
            raise ArtefactError(
                f"{path} has schema {fields.get('schema')}, this version reads {SCHEMA}",
                f"remove it and run {RERUN} again",
            )
        return _checked(path, msgspec.convert(fields, Ranges))
    except FileNotFoundError as error:
        raise ArtefactError(f"there are no ranges {path}", f"run {RERUN} first") from error
    except OSError as error:
        raise ArtefactError(
            f"cannot read {path}: {error.strerror}", "check the path and its permissions"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"{path} is broken: {error}", f"remove it and run {RERUN} again"
        ) from error


def _checked(path: Path, ranges: Ranges) -> Ranges:
    for name, amax in ranges.amax.items():
        # JSON has no infinity, but 1e999 is one.
        if not 0 < amax < float("inf"):
            raise ArtefactError(
                f"{path} gives {name} a range of {amax}", f"remove it and run {RERUN} again"
            )
    return ranges


def differences(
    ranges: Ranges,
    *,
    model_sha256: str = "",
    images_sha256: str = "",
    options: CalibrationOptions | None = None,
) -> list[str]:
    """Describe why the ranges are not those wanted, in a few words each; skip what is empty.

    Args:
        ranges: As measured.
        model_sha256: Of the graph.
        images_sha256: Of the images.
        options: How to choose ranges.
    """
    reasons = []
    if model_sha256 and model_sha256 != ranges.model_sha256:
        reasons.append("the model changed")
    if images_sha256 and images_sha256 != ranges.images_sha256:
        reasons.append("the images changed")
    if options is not None:
        if options.random_data != ranges.random_data:
            reasons.append(f"they are from {'noise' if ranges.random_data else 'images'}")
        if options.method is not ranges.method:
            reasons.append(f"the method was {ranges.method}, not {options.method}")
        elif kept_percentile(options) != ranges.percentile:
            reasons.append(f"the percentile was {ranges.percentile}, not {options.percentile}")
    return reasons


def kept_percentile(options: CalibrationOptions) -> float:
    """Return the percentile, or 100 for methods that have none."""
    return options.percentile if options.method is Method.PERCENTILE else 100.0


def check_fits(
    ranges: Ranges,
    artefact: Artefact,
    *,
    images_sha256: str = "",
    options: CalibrationOptions | None = None,
) -> None:
    """Refuse ranges of another graph, and if told, of other images or another method.

    They fit the graph they were measured on and whatever was made from it.

    Args:
        ranges: As measured.
        artefact: The graph they are to be used on.
        images_sha256: Of the images wanted; empty takes any.
        options: How they are to have been chosen; None takes any.

    Raises:
        ArtefactError: They do not fit; the message says why.
    """
    manifest = artefact.manifest
    family = {manifest.sha256, *(source.sha256 for source in manifest.sources)}
    model = "" if ranges.model_sha256 in family else manifest.sha256
    reasons = differences(
        ranges, model_sha256=model, images_sha256=images_sha256, options=options
    )
    if reasons:
        raise ArtefactError(
            f"the ranges of {ranges.model} do not fit {artefact.path.name}:"
            f" {', '.join(reasons)}",
            f"run {RERUN} again, on the fp32 graph that {artefact.path.name} is or comes from",
        )
