"""Files of ranges: readable, comparable, and of no use to a graph they were not made on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.measured_graphs import artefact

from hrvit_deploy.artefact import Artefact, Source
from hrvit_deploy.errors import ArtefactError
from hrvit_deploy.options import CalibrationOptions, Method, Precision
from hrvit_deploy.quantization.calibration.ranges import (
    Ranges,
    check_fits,
    differences,
    read_ranges,
    write_ranges,
)

RANGES = Ranges(
    model_sha256="aa" * 32,
    model="net.onnx",
    method=Method.MSE,
    images=40,
    images_sha256="bb" * 32,
    random_data=False,
    percentile=100.0,
    versions={"numpy": "2"},
    amax={"z": 0.1, "a": 3.25, "m": 1e-5},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.json"

    write_ranges(path, RANGES)

    assert read_ranges(path) == RANGES
    assert [p.name for p in path.parent.iterdir()] == ["net.json"]


def test_the_file_has_a_sorted_line_for_each_tensor(tmp_path: Path) -> None:
    path = tmp_path / "net.json"

    write_ranges(path, RANGES)

    lines = [line.strip(" ,") for line in path.read_text().splitlines()]
    start = lines.index('"amax": {') + 1
    assert lines[start : start + 4] == ['"a": 3.25', '"m": 0.00001', '"z": 0.1', "}"]
    assert '"method": "mse"' in lines
    assert '"images": 40' in lines
    assert f'"images_sha256": "{RANGES.images_sha256}"' in lines


@pytest.mark.parametrize(
    ("change", "problem", "mend"),
    [
        ({"schema": 2}, "schema 2", "calibrate"),
        ({"kind": "onnx"}, "does not hold ranges", "calibrate"),
        ({"method": "guess"}, "broken", "calibrate"),
        ({"amax": {"x": -1.0}}, "x a range of -1", "calibrate"),
        ({"amax": {"x": 0.0}}, "x a range of 0", "calibrate"),
        ({"amax": {"x": None}}, "broken", "calibrate"),
        ({"images": "many"}, "broken", "calibrate"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, change: dict[str, object], problem: str, mend: str
) -> None:
    path = tmp_path / "net.json"
    write_ranges(path, RANGES)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ArtefactError, match=problem) as caught:
        read_ranges(path)

    assert mend in caught.value.hint


@pytest.mark.parametrize(
    "contents", [b"", b"[]", b"{", b"\xff", b'"kind"', b'{"kind": "ranges", "schema": 1}']
)
def test_damaged_files_are_refused(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "net.json"
    path.write_bytes(contents)

    with pytest.raises(ArtefactError, match=r"net\.json"):
        read_ranges(path)


def test_numbers_beyond_all_bounds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    write_ranges(path, RANGES)
    path.write_text(path.read_text().replace("3.25", "1e999"))

    with pytest.raises(ArtefactError):
        read_ranges(path)


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no ranges .*gone\.json") as caught:
        read_ranges(tmp_path / "gone.json")

    assert "hrvit-deploy calibrate" in caught.value.hint


def test_they_fit_their_graph_and_what_was_made_from_it(tmp_path: Path) -> None:
    own = artefact(tmp_path)
    ranges = replace(RANGES, model_sha256=own.manifest.sha256)
    sources = own.as_source()
    child = Artefact(
        own.path,
        replace(own.manifest, sha256="cc" * 32, precision=Precision.FP16, sources=sources),
    )

    check_fits(ranges, own)
    check_fits(ranges, child, options=CalibrationOptions(Method.MSE))
    check_fits(ranges, child, images_sha256=RANGES.images_sha256)


def test_what_does_not_fit_is_refused_with_the_reason(tmp_path: Path) -> None:
    own = artefact(tmp_path)
    stranger = Artefact(
        own.path, replace(own.manifest, sources=(Source("checkpoint", "w.pth", "dd"),))
    )
    ranges = replace(RANGES, model_sha256=own.manifest.sha256)

    images, options = "ee", CalibrationOptions(Method.MINMAX)
    cases: list[tuple[Ranges, Artefact, dict[str, Any], str]] = [
        (RANGES, stranger, {}, "the model changed"),
        (ranges, own, {"images_sha256": images}, "the images changed"),
        (ranges, own, {"options": options}, "the method was mse, not minmax"),
    ]
    for measured, graph, wanted, reason in cases:
        with pytest.raises(ArtefactError, match=reason) as caught:
            check_fits(measured, graph, **wanted)
        assert "products.onnx" in caught.value.message
        assert "hrvit-deploy calibrate" in caught.value.hint


def test_only_what_matters_is_a_difference() -> None:
    mse = CalibrationOptions(Method.MSE)
    by_share = replace(RANGES, method=Method.PERCENTILE, percentile=99.9)

    assert differences(RANGES, options=replace(mse, percentile=99.0, samples=7)) == []
    assert differences(RANGES, options=replace(mse, random_data=True)) == [
        "they are from images"
    ]
    assert differences(
        by_share, options=CalibrationOptions(Method.PERCENTILE, percentile=99.99)
    ) == ["the percentile was 99.9, not 99.99"]
