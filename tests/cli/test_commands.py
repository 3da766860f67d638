"""``verify``, ``build-trt``, ``bench``, ``inspect`` and ``doctor`` as they are typed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from support.command_line import TINY, Run

from hrvit_deploy.artefact import open_artefact, read_sidecar, sha256_of, write_sidecar
from hrvit_deploy.bindings import cuda_
from hrvit_deploy.errors import HrvitDeployError
from hrvit_deploy.version import VERSION

NO_GPU = cuda_.survey().gpu is None


def test_verify_takes_the_newest_graph_and_says_so(run: Run, graph: Path) -> None:
    ran = run("verify", "--samples", "2")

    assert ran.code == 0, ran.err
    assert f"taking the newest graph, {graph}" in ran.err
    assert "passed" in ran.out


def test_verify_json_has_the_figures(run: Run, graph: Path) -> None:
    ran = run("verify", str(graph), "--samples", "2", "--json")

    assert ran.code == 0
    found = ran.json
    assert found["passed"] is True
    assert 0 <= found["mean_abs"] <= found["max_abs"] < 1e-4
    assert found["cosine"] == pytest.approx(1)
    assert found["agreement"] >= 0.999
    assert found["images"] == 2


def test_verify_against_another_artefact(run: Run, graph: Path) -> None:
    other = graph.with_name("other.onnx")
    shutil.copy(graph, other)
    shutil.copy(graph.with_suffix(".json"), other.with_suffix(".json"))
    words = ("verify", str(graph), "--against", str(other), "--samples", "2", "--json")

    # A copy of itself tells nothing.
    ran = run(*words)
    assert ran.code == 1
    assert "compared with itself" in ran.json["unjudged"]
    assert ran.json["max_abs"] == 0

    model = onnx.load(other)
    model.doc_string = "another file"
    onnx.save(model, other)
    manifest = read_sidecar(other.with_suffix(".json"))
    write_sidecar(other, replace(manifest, sha256=sha256_of(other)))
    ran = run(*words)
    assert ran.code == 0, ran.err
    assert ran.json["max_abs"] == 0


def test_verify_on_a_folder_of_images(run: Run, graph: Path, folder: Path) -> None:
    from PIL import Image

    from hrvit_deploy.images import photographs

    (folder / "mine").mkdir()
    for name, pixels in photographs():
        Image.fromarray(pixels).save(folder / "mine" / f"{name}.png")

    ran = run("verify", str(graph), "--images", "mine", "--json")

    assert ran.code == 0, ran.err
    assert ran.json["images"] == 2


@pytest.mark.parametrize(
    ("damage", "problem", "mend"),
    [
        ("graph", "SHA-256", "export"),
        ("sidecar gone", "sidecar", "export"),
        ("schema", "schema", "again"),
        ("gone", "there is no", "path"),
    ],
)
def test_a_damaged_artefact_is_refused(
    run: Run, graph: Path, damage: str, problem: str, mend: str
) -> None:
    sidecar = graph.with_suffix(".json")
    if damage == "graph":
        graph.write_bytes(graph.read_bytes()[:-1])
    elif damage == "sidecar gone":
        sidecar.unlink()
    elif damage == "schema":
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"schema": 99}))
    else:
        graph.unlink()

    for command in ("verify", "build-trt", "inspect", "bench"):
        ran = run(command, str(graph), "--json")
        assert ran.code == 1, command
        assert problem in ran.json["error"] + ran.json["hint"]
        assert mend in ran.json["hint"]


def test_without_any_graph_the_next_step_is_named(run: Run) -> None:
    for command in ("verify", "build-trt", "bench", "inspect"):
        ran = run(command, "--json")
        assert ran.code == 1
        assert "hrvit-deploy export" in ran.json["hint"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_build_trt_types_the_graph_and_builds(
    run: Run, graph: Path, folder: Path, precision: str
) -> None:
    rtx = ("--backend", "tensorrt-rtx")

    ran = run("build-trt", f"--{precision}", *rtx, "--samples", "2", "--json")

    assert ran.code == 0, ran.err
    plan = folder / ran.json["artefact"]
    manifest = open_artefact(plan).manifest
    assert plan.parent.name == "engines"
    assert manifest.engine is not None
    wanted = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
    assert set(manifest.engine.products) == {wanted}
    chain = [source.path for source in manifest.sources]
    assert chain[-1] == graph.name
    assert len(chain) == (1 if precision == "fp32" else 2)
    spoken = run("inspect", ran.json["artefact"])
    assert spoken.code == 0
    assert graph.name in spoken.out


def test_build_trt_takes_a_typed_graph_as_it_is(run: Run, graph: Path, folder: Path) -> None:
    rtx = ("--backend", "tensorrt-rtx", "--samples", "2", "--json")
    run("build-trt", "--fp16", *rtx)
    typed = next((folder / "export").glob("*-fp16.onnx"))
    before = typed.stat().st_mtime_ns

    again = run("build-trt", str(typed), "--fp16", *rtx)
    refused = run("build-trt", str(typed), "--fp32", *rtx)

    assert again.code == 0
    assert typed.stat().st_mtime_ns == before
    assert refused.code == 1
    assert "fp16" in refused.json["error"]
    assert "--precision fp32" in refused.json["hint"]


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (("--fp16", "--fp32"), 2, "one precision"),
        (("--int8",), 1, "calib/images"),
        (("--fp8",), 1, "calib/images"),
        (("--profile", "4,2,8"), 2, "4,2,8"),
        (("--profile", "1,2"), 2, "1,2"),
        (("--fp32", "--profile", "1,2,4"), 2, "batch"),
        (("--optimization-level", "9"), 2, "9"),
        (("--workspace", "-1"), 2, "workspace"),
        (("--compute-capability", "ninety"), 2, "ninety"),
        (("--backend", "openvino"), 2, "openvino"),
        (("--backend", "tensorrt-rtx", "--version-compatible", "--fp32"), 2, "version"),
    ],
)
def test_build_trt_refuses_what_cannot_be_meant(
    run: Run, graph: Path, folder: Path, options: tuple[str, ...], code: int, problem: str
) -> None:
    ran = run("build-trt", *options, "--json")

    assert ran.code == code
    assert problem in ran.json["error"]
    assert ran.json["hint"]
    assert not list(folder.rglob("*.plan"))


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_a_plan_without_a_gpu_is_refused_in_one_line(run: Run, graph: Path) -> None:
    built = run("build-trt", "--fp32", "--backend", "tensorrt-rtx", "--json")

    ran = run("verify", built.json["artefact"], "--json")

    assert ran.code == 1
    assert "GPU" in ran.json["error"] + ran.json["hint"]


def test_bench_writes_a_table_a_file_and_a_chart(run: Run, graph: Path, folder: Path) -> None:
    short = ("--rounds", "1", "--runs", "2", "--warmup", "1", "--threads", "1")

    ran = run("bench", str(graph), "--against", "eager", *short, "--json")

    assert ran.code == 0, ran.err
    eager, ours = ran.json["results"]
    assert eager["name"] == "eager"
    assert eager["ratio"] == 1
    assert ours["name"] == graph.stem
    for key in ("p50_ms", "p90_ms", "p99_ms", "mean_ms", "images_per_s", "peak_mib", "ratio"):
        assert ours[key] > 0
    assert ours["settings"]["threads"] == 1
    assert ran.json["environment"]["cpu"]
    saved = json.loads((folder / ran.json["saved"]).read_text())
    assert [row["p50_ms"] for row in saved["results"]] == [eager["p50_ms"], ours["p50_ms"]]
    assert (folder / ran.json["chart"]).read_bytes().startswith(b"\x89PNG")


def test_bench_profiles_graphs(run: Run, graph: Path, folder: Path) -> None:
    short = ("--rounds", "1", "--runs", "1", "--warmup", "1", "--threads", "1")

    ran = run("bench", str(graph), "--against", "eager,openvino", "--profile", *short, "--json")

    assert ran.code == 0, ran.err
    assert len(ran.json["results"]) == 3
    theirs, ours = ran.json["profiles"]
    assert "Conv" in {row["operator"] for row in ours["operators"]}
    assert len(ours["slowest"]) == len(theirs["slowest"]) == 10
    assert json.loads((folder / ran.json["saved"]).read_text())["profiles"] == [theirs, ours]
    spoken = run("bench", str(graph), "--profile", *short).out
    assert "slowest" in spoken
    assert "Conv" in spoken


def test_bench_refuses_an_unknown_peer(run: Run, graph: Path) -> None:
    ran = run("bench", str(graph), "--against", "tvm", "--json")

    assert ran.code == 2
    assert "eager, compile" in ran.json["hint"]


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
def test_bench_times_the_others_when_one_fails(run: Run, graph: Path) -> None:
    built = run("build-trt", "--fp32", "--backend", "tensorrt-rtx", "--json")
    short = ("--rounds", "1", "--runs", "1", "--warmup", "0", "--threads", "1")

    ran = run("bench", str(graph), built.json["artefact"], *short, "--json")

    assert ran.code == 1
    timed, failed = ran.json["results"]
    assert timed["p50_ms"] > 0
    assert failed["p50_ms"] is None
    assert "GPU" in failed["error"] + failed["hint"]


def test_inspect_tells_an_artefact(run: Run, graph: Path) -> None:
    ran = run("inspect", str(graph))

    assert ran.code == 0
    for words in ("image: float32 1 x 3 x 64 x 96 NCHW", "Conv", "fold-batch-norm", "opset"):
        assert words in ran.out
    assert open_artefact(graph).manifest.sha256[:16] in ran.out
    assert run("inspect", str(graph), "--json").json["nodes"] > 100


def test_inspect_tells_a_variant(run: Run) -> None:
    found = run("inspect", "b1", "--json").json
    spoken = run("inspect", str(TINY), "--task", "segment", "--size", "64").out

    assert found["network"]["parameters"] == 19_685_152
    assert found["network"]["multiply_adds"] == pytest.approx(2.776e9, rel=1e-3)
    names = [rewrite["name"] for rewrite in found["rewrites"]]
    assert "fold-batch-norm" in names
    for name in names:
        assert name in spoken


def test_doctor_finds_the_main_road_open(run: Run) -> None:
    ran = run("doctor", "--json")

    assert ran.code == 0
    assert ran.json["ok"] is True
    assert {"torch", "onnx", "onnxruntime"} <= {row["name"] for row in ran.json["libraries"]}
    spoken = run("doctor").out
    assert "[gpu]" in spoken
    assert "the main road is open" in spoken


def test_run_walks_the_whole_road(run: Run, folder: Path) -> None:
    ran = run(
        "run",
        *("--variant", str(TINY), "--size", "64", "--num-classes", "5", "--samples", "2"),
        *("--rounds", "1", "--backend", "tensorrt-rtx", "--json"),
    )

    assert ran.code == 0, ran.err
    assert (folder / ran.json["artefact"]).suffix == ".plan"
    assert ran.json["graph"]["passed"] is True
    assert set(ran.json["engine"]["products"]) == {"float16"}
    assert ran.json["bench"]["results"][0]["name"] == "eager"


def test_run_quantizes_on_the_way(run: Run, folder: Path) -> None:
    images = folder / "photos"
    images.mkdir()
    generator = np.random.default_rng(0)
    for number in range(2):
        pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    ran = run(
        "run",
        *("--variant", str(TINY), "--size", "64", "--num-classes", "5", "--samples", "2"),
        *("--rounds", "1", "--backend", "tensorrt-rtx", "--int8", "--images", "photos"),
        "--json",
    )

    assert ran.code == 0, ran.err
    assert ran.json["artefact"].endswith("-fp16-int8-rtx.plan")
    assert ran.json["engine"]["quantized_layers"] > 50
    assert (folder / "calib").is_dir()


def test_run_in_eight_bits_needs_images(run: Run) -> None:
    ran = run("run", "--variant", str(TINY), "--size", "64", "--samples", "1", "--int8")
    assert ran.code == 1
    assert "calib/images" in ran.err
    assert "--images DIR" in ran.err


def test_help_and_version(run: Run) -> None:
    assert run("--version").out.strip() == VERSION
    for arguments in ((), ("--help",), ("-h",)):
        ran = run(*arguments)
        assert ran.code == 0
        assert "build-trt" in ran.out


def test_an_interrupt_is_one_line_and_130(
    run: Run, graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hrvit_deploy.graphs.describe_graph", interrupt)
    before = sorted(folder.rglob("*"))

    ran = run("export", "--variant", str(TINY), "--size", "64", "--samples", "1", "--json")

    assert ran.code == 130
    assert ran.json["error"] == "interrupted"
    assert sorted(folder.rglob("*")) == before


def test_a_failure_of_any_kind_carries_its_mend() -> None:
    error = HrvitDeployError("it broke", "mend it")

    assert (error.message, error.hint, error.exit_code) == ("it broke", "mend it", 1)
