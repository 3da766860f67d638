"""A file and its sidecar: written whole, read back the same, refused when they differ."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrvit_deploy.artefact import (
    SCHEMA,
    Artefact,
    Engine,
    Graph,
    Kind,
    Manifest,
    Network,
    Parity,
    Preparation,
    Source,
    TensorInfo,
    Weights,
    newest,
    open_artefact,
    plain,
    read_sidecar,
    record,
    sha256_of,
    sidecar_of,
    write_sidecar,
)
from hrvit_deploy.errors import ArtefactError, UsageError
from hrvit_deploy.model.variants import VARIANTS
from hrvit_deploy.options import (
    ExportOptions,
    ImageSize,
    InputFormat,
    OutputFormat,
    Precision,
    Task,
)
from hrvit_deploy.staging import staging

SIZE = ImageSize(64, 96)


def manifest_of(path: Path, kind: Kind = Kind.ONNX, **changes: Any) -> Manifest:
    """A sidecar with something in every field."""
    full = Manifest(
        kind=kind,
        sha256=sha256_of(path),
        network=Network(VARIANTS["b1"], Task.SEGMENT, 19, Weights.CHECKPOINT, weights_key="a"),
        precision=Precision.FP16,
        output_format=OutputFormat.CLASSMAP,
        inputs=(TensorInfo("image", ("batch", 64, 96, 3), "uint8", "NHWC"),),
        outputs=(TensorInfo("classmap", ("batch", 64, 96), "uint8", "NHW"),),
        preparation=Preparation(SIZE, InputFormat.UINT8_NHWC),
        versions={"onnx": "1.0"},
        options=plain(ExportOptions(SIZE, batch=None, without=("fold-scale",))),
        sources=(Source("onnx", "a.onnx", "12"), Source("checkpoint", "weights.pth", "34")),
        graph=Graph(20, {"Conv": 3}, ("static-maps",), True, "", {"Conv_1": 7e4}),
        engine=Engine("tensorrt", "11.4", {"half": 3}, {"half": 2}, 10, 1.5, ("8.9",)),
        parity=Parity("eager", 2, 0.1, 0.01, 0.99, 1.0, True, {"max_abs": 0.2}),
    )
    return replace(full, **changes)


def make(folder: Path, name: str = "small.onnx", **changes: Any) -> Artefact:
    """An artefact whose file holds a few bytes."""
    path = folder / name
    path.write_bytes(f"the bytes of {name}".encode())
    manifest = manifest_of(path, Kind(path.suffix[1:]), **changes)
    write_sidecar(path, manifest)
    return Artefact(path, manifest)


def refusal(path: Path) -> ArtefactError:
    with pytest.raises(ArtefactError) as caught:
        open_artefact(path)
    assert caught.value.hint
    assert len(caught.value.message.splitlines()) == 1
    return caught.value


def edit(artefact: Artefact, **fields: Any) -> None:
    """Overwrite fields of the sidecar by hand."""
    held = json.loads(artefact.sidecar.read_text())
    artefact.sidecar.write_text(json.dumps(held | fields))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["small.onnx", "small.plan"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    artefact = make(tmp_path, name)
    opened = open_artefact(artefact.path)
    assert opened == artefact
    assert opened.sidecar == tmp_path / "small.json"
    assert names_in(tmp_path) == {name, "small.json"}


def test_missing_parts_are_read_back_too(tmp_path: Path) -> None:
    artefact = make(tmp_path, graph=None, engine=None, parity=None, sources=())
    assert open_artefact(artefact.path) == artefact


def test_the_sidecar_is_plain_json_people_can_read(tmp_path: Path) -> None:
    artefact = make(tmp_path)
    text = artefact.sidecar.read_text()
    held = json.loads(text)
    assert text.endswith("}\n")
    assert text.count("\n") > 50
    assert held["schema"] == SCHEMA
    assert held["sha256"] == sha256_of(artefact.path)
    assert held["preparation"]["size"] == [64, 96]
    assert held["preparation"]["mean"] == [123.675, 116.28, 103.53]
    assert held["inputs"][0] == {
        "name": "image",
        "shape": ["batch", 64, 96, 3],
        "dtype": "uint8",
        "layout": "NHWC",
    }
    assert held["network"]["variant"]["widths"] == [32, 64, 128, 256]


def test_the_chain_of_sources_begins_with_the_artefact(tmp_path: Path) -> None:
    artefact = make(tmp_path)
    first, *rest = artefact.as_source()
    assert first == Source("onnx", "small.onnx", artefact.manifest.sha256)
    assert tuple(rest) == artefact.manifest.sources
    assert rest[-1].kind == "checkpoint"


def test_a_batch_is_a_number_or_nothing() -> None:
    assert TensorInfo("image", (4, 3, 8, 8), "float32", "NCHW").batch == 4
    assert TensorInfo("image", ("batch", 3, 8, 8), "float32", "NCHW").batch is None


def test_options_become_plain_values() -> None:
    held = plain(ExportOptions(SIZE, None, precision=Precision.FP16, extra=("a",)))
    assert held["size"] == [64, 96]
    assert held["batch"] is None
    assert held["precision"] == "fp16"
    assert held["extra"] == ["a"]
    assert plain({"where": Path("a/b")}) == {"where": "a/b"}


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    artefact = make(tmp_path)
    artefact.path.write_bytes(artefact.path.read_bytes()[:-1] + b"!")
    error = refusal(artefact.path)
    assert error.message == (
        f"{artefact.path} is not the file its sidecar describes (SHA-256 differs)"
    )
    assert "hrvit-deploy export" in error.hint
    assert f"hrvit-deploy adopt {artefact.path}" in error.hint


def test_a_changed_plan_names_the_command_that_builds_it(tmp_path: Path) -> None:
    artefact = make(tmp_path, "small.plan")
    artefact.path.write_bytes(b"other")
    assert "hrvit-deploy build-trt" in refusal(artefact.path).hint


@pytest.mark.parametrize("name", ["../weights", "/etc/passwd", "sub/weights", "..", ""])
def test_weights_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    artefact = make(tmp_path, graph=Graph(17, {}, external_data={name: "0" * 64}))
    error = refusal(artefact.path)
    assert "no file beside it" in error.message


@pytest.mark.parametrize("name", ["a\nb", "`rm -r ~`", "$(id)", "<script>", "x" * 101])
def test_a_network_bears_no_name_that_could_be_obeyed(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a network"):
        Network(None, Task.SEGMENT, 2, Weights.UNKNOWN, name=name)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1\n```sh\ncurl x | sh\n```"},
        {"version": "1; id"},
        {"backend": "tensorrt`id`"},
        {"compute_capabilities": ["8.9$(id)"]},
    ],
)
def test_a_plan_s_sidecar_hands_on_no_commands(tmp_path: Path, change: dict[str, Any]) -> None:
    artefact = make(tmp_path, "small.plan")
    sidecar = json.loads(artefact.sidecar.read_text())
    sidecar["engine"] |= change
    artefact.sidecar.write_text(json.dumps(sidecar))
    assert "is not a sidecar" in refusal(artefact.path).message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "gone.onnx")
    assert error.message == f"there is no {tmp_path / 'gone.onnx'}"
    assert error.hint == "check the path"


def test_a_missing_sidecar_is_named(tmp_path: Path) -> None:
    artefact = make(tmp_path)
    artefact.sidecar.unlink()
    error = refusal(artefact.path)
    assert error.message == f"there is no {artefact.sidecar}"
    assert error.hint.startswith("small.onnx needs its sidecar; copy both, or export again")
    assert error.hint.endswith(f"run hrvit-deploy adopt {artefact.path}")


def test_a_missing_sidecar_of_a_plan_is_not_to_be_taken_in(tmp_path: Path) -> None:
    artefact = make(tmp_path, "small.plan")
    artefact.sidecar.unlink()
    assert "adopt" not in refusal(artefact.path).hint


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused(tmp_path: Path, schema: Any) -> None:
    artefact = make(tmp_path)
    edit(artefact, schema=schema)
    error = refusal(artefact.path)
    assert error.message == (
        f"{artefact.sidecar} has schema {schema}, this version reads {SCHEMA}"
    )
    assert "make the artefact again" in error.hint


def test_a_sidecar_of_another_kind_names_the_right_file(tmp_path: Path) -> None:
    artefact = make(tmp_path, "small.plan")
    graph = tmp_path / "small.onnx"
    graph.write_bytes(b"a graph")
    error = refusal(graph)
    assert error.message == f"{artefact.sidecar} describes a .plan, not small.onnx"
    assert error.hint == "give small.plan"


def test_a_sidecar_given_for_its_artefact_names_that(tmp_path: Path) -> None:
    assert refusal(make(tmp_path).sidecar).hint == "give small.onnx"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"null", b'{"schema": 1}']
)
def test_a_broken_sidecar_is_refused(tmp_path: Path, content: bytes) -> None:
    artefact = make(tmp_path)
    artefact.sidecar.write_bytes(content)
    error = refusal(artefact.path)
    assert error.message.startswith(f"{artefact.sidecar} ")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"precision": "fp7"}, "$.precision"),
        ({"inputs": "image"}, "$.inputs"),
        ({"kind": "engine"}, "$.kind"),
        ({"graph": {"opset": "20", "nodes": {}}}, "$.graph.opset"),
    ],
)
def test_a_field_that_cannot_be_is_named(
    tmp_path: Path, fields: dict[str, Any], expected: str
) -> None:
    artefact = make(tmp_path)
    edit(artefact, **fields)
    assert expected in refusal(artefact.path).message


def test_a_variant_that_cannot_be_is_refused_as_a_sidecar(tmp_path: Path) -> None:
    artefact = make(tmp_path)
    network = json.loads(artefact.sidecar.read_text())["network"]
    network["variant"]["widths"] = [32, 64, 128, 255]
    edit(artefact, network=network)
    error = refusal(artefact.path)
    assert error.message.startswith(f"{artefact.sidecar} is not a sidecar: variant 'b1'")


def test_a_sidecar_one_may_not_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    artefact = make(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(ArtefactError) as caught:
        read_sidecar(artefact.sidecar)
    assert caught.value.message == f"cannot read {artefact.sidecar}: Permission denied"


@pytest.fixture
def large(tmp_path: Path) -> Artefact:
    """A graph with its weights beside it."""
    data = tmp_path / "small.onnx.data"
    data.write_bytes(b"weights")
    return make(tmp_path, graph=Graph(20, {}, external_data={data.name: sha256_of(data)}))


def test_weights_of_a_larger_graph_of_that_name_go_with_it(tmp_path: Path) -> None:
    target = tmp_path / "a.onnx"
    data, other = tmp_path / "a.onnx.data", tmp_path / "b.onnx.data"
    for path in (data, other):
        path.write_bytes(b"weights")
    with pytest.raises(KeyboardInterrupt), staging(target):
        raise KeyboardInterrupt
    assert data.exists()
    with staging(target) as folder:
        (folder / "a.onnx").write_bytes(b"graph")
        (folder / "a.onnx.data").write_bytes(b"more")
    assert data.read_bytes() == b"more"
    with staging(target) as folder:
        (folder / "a.onnx").write_bytes(b"small")
    assert not data.exists()
    assert other.exists()


def test_external_data_is_checked_too(large: Artefact) -> None:
    assert open_artefact(large.path) == large
    data = large.path.with_name("small.onnx.data")
    data.write_bytes(b"Weights")
    assert refusal(large.path).message == (
        f"{data} is not the file its sidecar describes (SHA-256 differs)"
    )


def test_missing_external_data_is_named(large: Artefact) -> None:
    data = large.path.with_name("small.onnx.data")
    data.unlink()
    error = refusal(large.path)
    assert error.message == f"there is no {data}, which holds the weights of small.onnx"
    assert error.hint == "copy it beside small.onnx, or run hrvit-deploy export again"


def test_an_artefact_moves_with_all_its_files(large: Artefact, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("small.onnx", "small.json", "small.onnx.data"):
        shutil.move(tmp_path / name, elsewhere)
    assert open_artefact(elsewhere / "small.onnx").manifest == large.manifest


def test_recording_changes_the_sidecar_on_disk(tmp_path: Path) -> None:
    artefact = make(tmp_path, parity=None)
    verdict = Parity("eager", 1, 0.0, 0.0, 1.0, 1.0, True, {})
    changed = record(artefact, parity=verdict)
    assert changed.manifest.parity == verdict
    assert open_artefact(artefact.path) == changed
    assert artefact.manifest.parity is None
    assert names_in(tmp_path) == {"small.onnx", "small.json"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_sidecar_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    artefact = make(tmp_path)
    before = artefact.sidecar.read_bytes()

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:20])
        raise error

    monkeypatch.setattr(Path, "write_bytes", half)
    expected = ArtefactError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        record(artefact, parity=None)
    if isinstance(caught.value, ArtefactError):
        assert caught.value.message == (f"cannot write to {tmp_path}: No space left on device")
    assert artefact.sidecar.read_bytes() == before
    assert names_in(tmp_path) == {"small.onnx", "small.json"}


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"new {name}")


def test_staged_files_take_their_places_together(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.onnx"
    with staging(target) as folder:
        assert folder.parent == target.parent
        fill(folder, "a.onnx", "a.json", "a.onnx.data")
        assert names_in(target.parent) == {folder.name}
    assert names_in(target.parent) == {"a.onnx", "a.json", "a.onnx.data"}
    assert target.read_text() == "new a.onnx"


def test_staged_files_replace_older_ones(tmp_path: Path) -> None:
    fill(tmp_path, "a.onnx", "other.onnx")
    (tmp_path / "a.onnx").write_text("old")
    with staging(tmp_path / "a.onnx") as folder:
        fill(folder, "a.onnx")
    assert (tmp_path / "a.onnx").read_text() == "new a.onnx"
    assert names_in(tmp_path) == {"a.onnx", "other.onnx"}


def test_weights_go_first_and_sidecars_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[str] = []
    replace_path, list_folder = Path.replace, Path.iterdir

    def watched(path: Path, target: Path) -> Path:
        placed.append(path.name)
        return replace_path(path, target)

    def backwards(path: Path) -> Iterator[Path]:
        return iter(sorted(list_folder(path), reverse=True))

    monkeypatch.setattr(Path, "replace", watched)
    with staging(tmp_path / "a.onnx") as folder:
        fill(folder, "a.json", "a.onnx", "a.onnx.data", "0.bin")
        monkeypatch.setattr(Path, "iterdir", backwards)
    monkeypatch.undo()
    # The journal first: from then on all of it counts as written.
    assert placed[0] == ".a.commit"
    assert set(placed[1:3]) == {"a.onnx.data", "0.bin"}
    assert placed[3:] == ["a.onnx", "a.json"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_nothing_is_left_after_a_failure(tmp_path: Path, error: BaseException) -> None:
    fill(tmp_path, "a.onnx")
    (tmp_path / "a.onnx").write_text("old")
    with pytest.raises(type(error)), staging(tmp_path / "a.onnx") as folder:  # noqa: PT012
        fill(folder, "a.onnx", "a.json")
        raise error
    assert names_in(tmp_path) == {"a.onnx"}
    assert (tmp_path / "a.onnx").read_text() == "old"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError) as caught, staging(tmp_path / "file" / "a.onnx"):
        pass
    assert caught.value.message.startswith(f"cannot write to {tmp_path / 'file'}: ")
    assert "--out" in caught.value.hint


def test_a_place_that_is_taken_by_a_folder_is_named(tmp_path: Path) -> None:
    target = tmp_path / "a.onnx"
    target.mkdir()
    with pytest.raises(ArtefactError) as caught, staging(target) as folder:
        fill(folder, "a.onnx")
    assert caught.value.message == f"cannot write {target}: it is a folder"
    assert names_in(tmp_path) == {"a.onnx"}


def test_the_newest_artefact_of_a_kind_is_found(tmp_path: Path) -> None:
    for age, name in enumerate(["c.onnx", "a.onnx", "b.onnx", "newer.plan"]):
        made = make(tmp_path, name)
        os.utime(made.path, ns=(0, (10 - age if name != "newer.plan" else 99) * 10**9))
    (tmp_path / "bare.onnx").write_bytes(b"without a sidecar")
    assert newest(tmp_path, Kind.ONNX).path.name == "c.onnx"
    assert newest(tmp_path, Kind.PLAN).path.name == "newer.plan"


def test_only_fitting_artefacts_are_considered(tmp_path: Path) -> None:
    make(tmp_path, "half.onnx", precision=Precision.FP16)
    make(tmp_path, "full.onnx", precision=Precision.FP32)
    os.utime(tmp_path / "full.onnx", ns=(0, 0))
    found = newest(tmp_path, Kind.ONNX, lambda m: m.precision is Precision.FP32)
    assert found.path.name == "full.onnx"


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_any_names_the_command(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ArtefactError) as caught:
        newest(tmp_path / folder, Kind.ONNX)
    assert ".onnx in" in caught.value.message
    assert caught.value.hint == "name one, or run hrvit-deploy export first"


def test_sidecars_are_named_after_their_files() -> None:
    assert sidecar_of(Path("x/hrvit-b1.v2.onnx")) == Path("x/hrvit-b1.v2.json")


def test_hashes_are_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path).startswith("ba7816bf8f01cfea")
