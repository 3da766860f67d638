"""Graphs are quantized, judged, and refused or mended when they lose too much."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from hrvit_deploy.artefact import Artefact, Weights, open_artefact, record, sha256_of
from hrvit_deploy.errors import ArtefactError, GateError, InputError, UsageError
from hrvit_deploy.image_source import ImageSource
from hrvit_deploy.images import samples
from hrvit_deploy.measure.parity.gates import QualityLimits
from hrvit_deploy.options import (
    CalibrationOptions,
    ImageSize,
    Method,
    Precision,
    QuantizeOptions,
)
from hrvit_deploy.pipeline import quality_gate
from hrvit_deploy.pipeline import quantize as quantize_stage
from hrvit_deploy.pipeline.quality_gate import QualityCriteria
from hrvit_deploy.progress import SilentProgress
from hrvit_deploy.quantization.calibration.ranges import Ranges

MINMAX = CalibrationOptions(Method.MINMAX)
IMAGES = Path("calib/images")
INT8 = QuantizeOptions()
FEW = QualityCriteria(images=ImageSource(limit=2))


@pytest.fixture
def ranges(graph: Path) -> tuple[Path, Ranges]:
    """Of the graph in ``export/``, on six crops in ``calib/images/``."""
    write_images(IMAGES, 6)
    return quantize_stage.find_ranges(
        open_artefact(graph), None, None, MINMAX, SilentProgress()
    )


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for name, pixels in samples(count, ImageSize(64, 96)):
        Image.fromarray(pixels).save(folder / f"{name}.png")


def strict(agreement: float) -> QualityCriteria:
    return QualityCriteria(images=ImageSource(limit=2), quality=QualityLimits(0.01, agreement))


def trained(artefact: Artefact) -> Artefact:
    """The same, saying that its weights are from a checkpoint."""
    network = replace(artefact.manifest.network, weights=Weights.CHECKPOINT)
    return record(artefact, network=network)


def test_a_quantized_graph_says_what_it_is(graph: Path, ranges: tuple[Path, Ranges]) -> None:
    source = open_artefact(graph)

    made = quantize_stage.quantize(source, ranges, INT8, FEW, SilentProgress())

    assert open_artefact(made.path) == made
    assert made.path.name == f"{graph.stem}-int8.onnx"
    manifest = made.manifest
    found = manifest.quantization
    assert found is not None
    assert (manifest.precision, found.rest) == (Precision.INT8, Precision.FP32)
    assert (found.method, found.images, found.random_data) == ("minmax", 6, False)
    assert found.ranges_sha256 == sha256_of(ranges[0])
    assert manifest.sources[0].sha256 == source.manifest.sha256
    assert manifest.graph is not None
    # A pair in front of each product's activation, half a pair behind its weight.
    assert manifest.graph.nodes["DequantizeLinear"] > found.products > 30
    assert made.path.stat().st_size < graph.stat().st_size
    assert manifest.parity is not None
    assert manifest.gate is not None
    assert manifest.gate.metric == "agreement"
    assert manifest.gate.candidate == manifest.parity.class_agreement
    assert manifest.gate.candidate > 0.5
    assert manifest.gate.share == manifest.parity.agreement


def test_the_rest_may_be_float16(graph: Path, ranges: tuple[Path, Ranges]) -> None:
    source, progress = open_artefact(graph), SilentProgress()

    made = quantize_stage.quantize(source, ranges, INT8, FEW, progress, rest=Precision.FP16)

    assert made.path.name == f"{graph.stem}-fp16-int8.onnx"
    found = made.manifest.quantization
    assert found is not None
    assert found.rest is made.manifest.float_type is Precision.FP16
    scales = [w for w in onnx.load(made.path).graph.initializer if w.name.endswith("_scale")]
    assert {numpy_helper.to_array(scale).dtype for scale in scales} == {np.dtype(np.float16)}
    # The float16 graph is made once, and noticed when it is another's.
    typed = open_artefact(graph.with_stem(f"{graph.stem}-fp16"))
    again, fresh = quantize_stage.find_or_cast(source, Precision.FP16, FEW.images, progress)
    assert (again, fresh) == (typed, False)
    stale = replace(typed.manifest.sources[0], sha256="0" * 64)
    record(typed, sources=(stale,))
    _, fresh = quantize_stage.find_or_cast(source, Precision.FP16, FEW.images, progress)
    assert fresh


def test_fp8_is_judged_too(graph: Path, ranges: tuple[Path, Ranges]) -> None:
    made = quantize_stage.quantize(
        open_artefact(graph), ranges, QuantizeOptions(Precision.FP8), FEW, SilentProgress()
    )
    assert made.manifest.precision is Precision.FP8
    assert made.manifest.parity is not None
    assert 0.5 < made.manifest.parity.cosine < 1


def test_a_missed_gate_is_refused_with_figures(
    graph: Path, ranges: tuple[Path, Ranges]
) -> None:
    evidence = strict(1.0)
    made = quantize_stage.quantize(
        open_artefact(graph), ranges, INT8, evidence, SilentProgress()
    )

    assert made.manifest.gate is not None
    assert not made.manifest.gate.passed
    assert made.path == graph.parent / "refused" / f"{graph.stem}-int8.onnx"
    with pytest.raises(GateError, match=r"agree with the float32 graph's by 0\.\d{4}") as e:
        quality_gate.require_quality(made, SilentProgress())
    assert "--auto" in e.value.hint
    assert "--fp16" in e.value.hint


def test_random_weights_are_told_but_not_held_to_a_gate_nobody_gave(
    graph: Path, ranges: tuple[Path, Ranges]
) -> None:
    source, progress = open_artefact(graph), SilentProgress()
    made = quantize_stage.quantize(source, ranges, INT8, FEW, progress)
    assert made.manifest.gate is not None
    assert not made.manifest.gate.passed

    quality_gate.require_quality(made, progress)

    assert "weights are random" in progress.warnings[-1]
    with pytest.raises(GateError):
        quality_gate.require_quality(
            quality_gate.recheck(made, source, strict(1.0), progress), progress
        )
    with pytest.raises(GateError):
        quality_gate.require_quality(
            quality_gate.recheck(trained(made), source, FEW, progress), progress
        )


def test_auto_leaves_the_worst_in_float_until_the_gate_holds(
    graph: Path, ranges: tuple[Path, Ranges]
) -> None:
    source, progress = open_artefact(graph), SilentProgress()
    plain = quantize_stage.quantize(source, ranges, INT8, FEW, progress)
    assert plain.manifest.gate is not None
    assert plain.manifest.quantization is not None
    # Between what it reaches and all there is.
    wanted = (plain.manifest.gate.candidate + 1) / 2

    made = quantize_stage.quantize(source, ranges, INT8, strict(wanted), progress, auto=True)

    gate, found = made.manifest.gate, made.manifest.quantization
    assert gate is not None
    assert found is not None
    assert gate.passed
    assert gate.candidate >= wanted > plain.manifest.gate.candidate
    assert 0 < len(found.kept) < plain.manifest.quantization.products
    assert found.products == plain.manifest.quantization.products - len(found.kept)
    assert any("stay in float" in note for note in progress.notes)


def test_what_was_judged_is_judged_again_by_todays_limits(
    graph: Path, ranges: tuple[Path, Ranges]
) -> None:
    source = open_artefact(graph)
    made = quantize_stage.quantize(source, ranges, INT8, strict(0.5), SilentProgress())
    assert made.manifest.gate is not None
    assert made.manifest.gate.passed
    figures = made.manifest.gate.candidate

    again = quality_gate.recheck(made, source, strict(1), SilentProgress())

    assert again.manifest.gate is not None
    assert not again.manifest.gate.passed
    assert (again.manifest.gate.limit, again.manifest.gate.candidate) == (1, figures)
    # What was never judged, because it was interrupted, is.
    unjudged = record(made, gate=None)
    again = quality_gate.recheck(unjudged, source, strict(1), SilentProgress())
    assert again.manifest.gate is not None
    assert again.manifest.gate.candidate == pytest.approx(figures)
    # On other images, everything is.
    fresh = replace(strict(1), images=ImageSource(limit=3), remeasure=True)
    again = quality_gate.recheck(again, source, fresh, SilentProgress())
    assert again.manifest.gate is not None
    assert again.manifest.gate.images == 3


def test_a_float16_export_of_the_users_own_is_not_overwritten(graph: Path) -> None:
    source = open_artefact(graph)
    theirs = graph.with_stem(f"{graph.stem}-fp16")
    shutil.copy(graph, theirs)
    shutil.copy(graph.with_suffix(".json"), theirs.with_suffix(".json"))
    before = theirs.read_bytes()

    typed, fresh = quantize_stage.find_or_cast(
        source, Precision.FP16, FEW.images, SilentProgress()
    )

    assert fresh
    assert typed.path.name == f"{graph.stem}-to-fp16.onnx"
    assert theirs.read_bytes() == before


def test_a_float16_export_has_no_ranges(graph: Path) -> None:
    lone = record(open_artefact(graph), precision=Precision.FP16, sources=())
    with pytest.raises(ArtefactError, match="was exported in fp16") as caught:
        quantize_stage.find_ranges(lone, None, None, None, SilentProgress())
    assert "--rest fp16" in caught.value.hint


def test_auto_gives_up_with_figures(graph: Path, ranges: tuple[Path, Ranges]) -> None:
    # Every decision, whatever is left: float16 alone turns some.
    with pytest.raises(GateError, match=r"even with \d+ more products in float"):
        quantize_stage.quantize(
            open_artefact(graph),
            ranges,
            INT8,
            QualityCriteria(images=ImageSource(limit=6), quality=QualityLimits(0, 1)),
            SilentProgress(),
            rest=Precision.FP16,
            auto=True,
        )


def test_ranges_of_another_graph_are_refused(graph: Path, ranges: tuple[Path, Ranges]) -> None:
    path, _ = ranges
    other = graph.with_name("other.onnx")
    model = onnx.load(graph)
    model.doc_string = "changed"
    onnx.save(model, other)
    changed = record(Artefact(other, open_artefact(graph).manifest), sha256=sha256_of(other))
    with pytest.raises(ArtefactError, match="the model changed"):
        quantize_stage.find_ranges(changed, path, None, None, SilentProgress())


def test_ranges_measured_otherwise_are_not_taken(
    graph: Path, ranges: tuple[Path, Ranges]
) -> None:
    source, (path, _) = open_artefact(graph), ranges
    with pytest.raises(UsageError, match="how to measure others says nothing"):
        quantize_stage.find_ranges(source, path, None, MINMAX, SilentProgress())
    # Nobody said how: those that are there will do, and are not measured again.
    before = path.read_bytes()
    assert quantize_stage.find_ranges(source, None, None, None, SilentProgress()) == ranges
    assert path.read_bytes() == before
    # Somebody did.
    other = CalibrationOptions(Method.PERCENTILE)
    _, held = quantize_stage.find_ranges(source, None, None, other, SilentProgress())
    assert held.method is Method.PERCENTILE


def test_ranges_of_images_that_changed_are_an_error(
    graph: Path, ranges: tuple[Path, Ranges]
) -> None:
    next(IMAGES.iterdir()).unlink()
    with pytest.raises(ArtefactError, match="the images in calib/images/ changed") as caught:
        quantize_stage.find_ranges(open_artefact(graph), None, None, None, SilentProgress())
    assert "calibrate again" in caught.value.hint


def test_neither_images_nor_ranges_is_an_error_that_says_where_they_go(graph: Path) -> None:
    with pytest.raises(InputError, match="no images in calib/images/ and no ranges in") as e:
        quantize_stage.find_ranges(open_artefact(graph), None, None, MINMAX, SilentProgress())
    assert "calib/images" in e.value.hint
    assert "--images" in e.value.hint


def test_ranges_alone_will_do(graph: Path, ranges: tuple[Path, Ranges]) -> None:
    shutil.rmtree(IMAGES)
    progress = SilentProgress()

    path, held = quantize_stage.find_ranges(open_artefact(graph), None, None, None, progress)

    assert (path, held) == ranges
    assert progress.notes == [f"taking {path}: minmax of 6 images"]


def test_a_float16_graph_takes_the_ranges_of_its_float32_one(
    graph: Path, ranges: tuple[Path, Ranges]
) -> None:
    source = open_artefact(graph)
    typed, _ = quantize_stage.find_or_cast(source, Precision.FP16, FEW.images, SilentProgress())
    assert quantize_stage.find_ranges(typed, None, None, MINMAX, SilentProgress()) == ranges
    graph.rename("elsewhere.onnx")
    with pytest.raises(ArtefactError, match="is not beside it"):
        quantize_stage.find_ranges(typed, None, None, MINMAX, SilentProgress())
